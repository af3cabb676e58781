//! `plyfs logout`.

use clap::Args;
use plyfs_registry::{AuthFiles, Interrupt};

use crate::error::{CliError, Result};
use crate::output;
use crate::registry::RegistryArgs;

/// Forget the credentials for a registry
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry, as docker.io or registry.example:5000
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// The file with credentials [default: as for login]
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<std::path::PathBuf>,
}

/// Removes credentials.
pub(crate) fn logout(args: &LogoutArgs) -> Result {
    let registry = RegistryArgs {
        authfile: args.authfile.clone(),
        ..RegistryArgs::default()
    };
    let files = AuthFiles::new(&registry.places(), Interrupt::never());
    match files.remove(&args.host).map_err(CliError::new)? {
        true => output::write(&format!("Removed the credentials for {}\n", args.host)),
        false => Err(CliError::new(format_args!(
            "there are no credentials for {} in the file that login writes",
            plyfs_store::escaped(&args.host)
        ))),
    }
}

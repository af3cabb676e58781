//! `plyfs login`.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use clap::Args;
use plyfs_registry::{AuthFiles, Credentials, Interrupt};

use crate::error::{CliError, Context, Result};
use crate::output;
use crate::registry::{RegistryArgs, no_echo, password_from_stdin};

/// Log in to a registry: check credentials, and keep them for other commands
///
/// They are kept where Podman, Buildah and skopeo keep them, so that each finds those of the others.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry, as docker.io or registry.example:5000
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// The user name; asked for on a terminal without
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// Checks credentials and stores them.
pub(crate) fn login(args: &LoginArgs) -> Result {
    let credentials = credentials(args)?;
    let registry = RegistryArgs {
        creds: None,
        ..args.registry.clone()
    };
    let client = registry.connect(Arc::default())?;
    client
        .check_login(&args.host, &credentials)
        .map_err(CliError::new)?;
    let files = AuthFiles::new(&args.registry.places(), Interrupt::never());
    let file = files
        .store(&args.host, &credentials)
        .map_err(CliError::new)?;
    log::info!("credentials are kept in {}", file.display());
    output::write("Login succeeded\n")
}

/// Those of `--creds`, or a user name and a password that is read.
fn credentials(args: &LoginArgs) -> Result<Credentials> {
    if let Some(credentials) = args.registry.credentials()? {
        return Ok(credentials);
    }
    if args.password_stdin {
        let user = args.username.as_deref().ok_or_else(|| {
            CliError::new("--password-stdin needs the user name: give it with --username")
        })?;
        return Ok(Credentials::password(user, password_from_stdin()?));
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::new(
            "the password is read from a terminal; give --password-stdin to read it from a pipe",
        ));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => asked("Username: ")?,
    };
    let password = no_echo(|| asked("Password: "))?;
    Ok(Credentials::password(user, password))
}

/// A line from the terminal.
fn asked(prompt: &str) -> Result<String> {
    let mut terminal = std::io::stderr();
    terminal.write_all(prompt.as_bytes()).context("ask")?;
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("read the answer")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

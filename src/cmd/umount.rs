//! The arguments of `plyfs umount`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Detach now and finish when it is no longer in use
    #[arg(short, long)]
    pub(crate) lazy: bool,
    /// The directory that is mounted on, in whatever mount namespace of this user, or the container
    #[arg(value_name = "MOUNTPOINT|CONTAINER")]
    pub(crate) mountpoint: PathBuf,
}

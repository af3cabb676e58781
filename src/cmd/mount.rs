//! The arguments of `plyfs mount`.

use std::ffi::OsString;

use clap::Args;

use crate::mount::backend_choice::BackendChoice;

/// Mount an image, or a stack of directories
///
/// An image is mounted writable: its changes are kept in a container, whose name is printed, and
/// which is mounted again by --container NAME.
#[derive(Debug, Args)]
#[command(override_usage = "plyfs mount [OPTIONS] IMAGE MOUNTPOINT\n       \
    plyfs mount [OPTIONS] --container NAME MOUNTPOINT\n       \
    plyfs mount -o lowerdir=A:B[,upperdir=U,workdir=W][,...] MOUNTPOINT")]
pub(crate) struct MountArgs {
    /// Mount options, as for mount(8): lowerdir=A:B, upperdir=U, workdir=W, ro, volatile, ...; all of them
    /// are in mount.plyfs(8)
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// Mount read-only
    #[arg(long)]
    pub(crate) ro: bool,
    /// The container that keeps the changes; made if there is none of that name
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Stay in the foreground and serve the mount until it is unmounted
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Take the place of a mount whose daemon has ended
    #[arg(long)]
    pub(crate) replace: bool,
    /// What serves the mount: the kernel's overlay, FUSE, or the first of them that supports all options
    /// [default: $PLYFS_BACKEND, else auto]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendChoice>,
    /// Do not print the name of the container
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image, unless layers or a container are given, and the directory to mount on
    #[arg(required = true, num_args = 1..=2, value_names = ["IMAGE", "MOUNTPOINT"])]
    pub(crate) what_and_where: Vec<OsString>,
}

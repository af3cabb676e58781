//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Container image stacks, mounted by anyone, without root
#[derive(Debug, Parser)]
#[command(name = "plyfs", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Say more about what is done; twice for every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Mount(MountArgs),
    /// Unmount, and wait until everything is written
    #[command(visible_alias = "unmount")]
    Umount(UmountArgs),
    /// Run a command, or a shell, in a user namespace in which mounting is allowed
    Unshare(UnshareArgs),
}

/// Mount an image, or a stack of directories
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// Mount options, as for mount(8): lowerdir=A:B, upperdir=U, workdir=W, ro, volatile, ...
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// Mount read-only
    #[arg(long)]
    pub(crate) ro: bool,
    /// Stay in the foreground and serve the mount until it is unmounted
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// The directory to mount on
    pub(crate) mountpoint: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Detach now and finish when it is no longer in use
    #[arg(short, long)]
    pub(crate) lazy: bool,
    /// The directory that is mounted on
    pub(crate) mountpoint: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UnshareArgs {
    /// The command, and its arguments; $SHELL if none is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

//! The arguments of `plyfs run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::cmd::shared::needed::NeededArgs;
use crate::mount::backend_choice::BackendChoice;
use crate::oci::options::ContainerOptions;

/// Run a command in a container: in namespaces of its own, root inside
///
/// Without COMMAND, the image's own command runs. The container is removed afterwards unless --keep or
/// --container is given. The exit status is that of the command; 125 if the container could not be
/// started, 126 if the command cannot be executed, 127 if it does not exist, and 128+N if signal N ended it.
#[derive(Debug, Args)]
#[command(
    override_usage = "plyfs run [OPTIONS] IMAGE [COMMAND [ARGUMENTS...]]\n       \
    plyfs run [OPTIONS] --container NAME [COMMAND [ARGUMENTS...]]",
    // As in Podman, -h is the host name.
    disable_help_flag = true
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) container_options: ContainerOptions,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Pass standard input to the command; always on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Allocate a terminal for the command [default: if standard input and output are terminals]
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tty: Option<bool>,
    /// Remove the container when the command has ended; the default without --keep and --container
    #[arg(long, conflicts_with_all = ["keep", "container"])]
    pub(crate) rm: bool,
    /// Keep the container and print its name when the command has ended
    #[arg(long, conflicts_with = "container")]
    pub(crate) keep: bool,
    /// The container to run in; made, and kept, if there is none of that name. One that exists needs no image
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// The name of the container that is made, for ps, exec and stop
    #[arg(long, value_name = "NAME", conflicts_with_all = ["container", "ro"])]
    pub(crate) name: Option<String>,
    /// Mount the image itself, read-only, without a container
    #[arg(long, conflicts_with_all = ["keep", "container"])]
    pub(crate) ro: bool,
    /// Run an init process that forwards signals and reaps processes
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "runtime")]
    pub(crate) init: bool,
    /// keep-id: the caller has the same user id in the container. host: the caller is root in it
    #[arg(long, value_name = "MODE", value_enum, default_value = "host")]
    pub(crate) userns: Userns,
    /// What serves the container's files: the kernel's overlay, FUSE, or the first of them that supports all
    /// options [default: $PLYFS_BACKEND, else auto]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendChoice>,
    /// Another OCI runtime to start the container with: crun, runc, youki, runsc, or a path
    /// [default: the one inside plyfs]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) runtime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) needed: NeededArgs,
    /// The image
    #[arg(required_unless_present = "container", value_name = "IMAGE")]
    pub(crate) image: Option<OsString>,
    /// The command, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

/// How ids of the caller and of the container belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Userns {
    #[default]
    Host,
    KeepId,
}

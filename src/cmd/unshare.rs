//! `plyfs unshare`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::error::{CANNOT_RUN, CliError, NOT_FOUND, Result, reason};
use crate::namespace;

#[derive(Debug, Args)]
pub(crate) struct UnshareArgs {
    /// The command, and its arguments; $SHELL if none is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

/// Replaces this process by a command in a namespace where mounting is allowed.
pub(crate) fn unshare(args: &UnshareArgs) -> Result {
    if namespace::can_mount() {
        // Mounts are not to leak into the namespace we came from.
        namespace::enter_mounts_only()?;
    } else {
        namespace::enter()?;
    }
    let mut words = args.command.iter();
    let program = words.next().cloned();
    let program = program.or_else(|| std::env::var_os("SHELL"));
    let program = program.unwrap_or_else(|| "/bin/sh".into());
    let error = Command::new(&program).args(words).exec();
    let status = match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_RUN,
    };
    let message = format!("cannot run {}: {}", program.display(), reason(&error));
    Err(CliError::new(message).with_status(status))
}

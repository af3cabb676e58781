//! `plyfs unshare`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cli::UnshareArgs;
use crate::error::{CliError, Result, reason};
use crate::namespace;

/// Exit status when a command cannot be run, and when it cannot be found, as shells have it.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

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

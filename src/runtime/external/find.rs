//! Finding the program of another runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use plyfs_sys::process::without_blocked_signals;
use rustix::fs::Access;

use crate::error::{CliError, Context, NOT_STARTED, Result};

/// A runtime that was found.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub(super) path: PathBuf,
    pub(super) is_crun: bool,
}

/// Looks a runtime up by its path or, as a shell does, by its name.
///
/// # Errors
/// If there is none, or it cannot be executed.
pub(crate) fn find(runtime: &Path) -> Result<Runtime> {
    let path = path_of(runtime)?;
    let mut version = Command::new(&path);
    let output = without_blocked_signals(version.arg("--version")).output();
    let is_crun = output.is_ok_and(|output| output.stdout.starts_with(b"crun "));
    Ok(Runtime { path, is_crun })
}

fn path_of(runtime: &Path) -> Result<PathBuf> {
    let missing = || {
        CliError::new(format_args!(
            "there is no runtime {}; install it, or give its path",
            runtime.display()
        ))
        .with_status(NOT_STARTED)
    };
    let is_program =
        |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if runtime.components().count() > 1 || runtime.is_absolute() {
        let path = std::path::absolute(runtime).context("resolve the path of the runtime")?;
        return is_program(&path).then_some(path).ok_or_else(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(runtime));
    candidates.find(|path| is_program(path)).ok_or_else(missing)
}

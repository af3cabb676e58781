//! A directory with a configuration for another runtime, and the calls of the runtime about it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_spec::runtime::Spec;
use plyfs_sys::process::without_blocked_signals;

use super::find::Runtime;
use crate::error::{CANNOT_RUN, CliError, Context, NOT_FOUND, NOT_STARTED, Result, reason};
use crate::runtime::adapt;

/// A directory with a configuration for another runtime.
pub(crate) struct Bundle {
    pub(super) dir: PathBuf,
    /// Where the runtime keeps what it knows of the container.
    state: PathBuf,
    pub(super) id: String,
    pub(super) runtime: Runtime,
    _read_only: Option<adapt::ReadOnly>,
}

impl Bundle {
    /// Writes the configuration into a directory of its own.
    pub(crate) fn write(dir: &Path, spec: &Spec, runtime: &Runtime) -> Result<Self> {
        let (dir, state) = (dir.to_owned(), dir.join("state"));
        let path = dir.join("config.json");
        let mut spec = spec.clone();
        let read_only = adapt::adapt(&mut spec, runtime.is_crun)?;
        spec.save(&path)
            .context(format_args!("write {}", path.display()))?;
        std::fs::create_dir(&state).context(format_args!("make {}", state.display()))?;
        Ok(Self {
            dir,
            state,
            id: format!("plyfs-{}", std::process::id()),
            runtime: runtime.clone(),
            _read_only: read_only,
        })
    }

    /// The runtime, to be called about this container. It starts with no signal blocked.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.runtime.path);
        without_blocked_signals(&mut command);
        // crun takes another user for one without power, and makes a user namespace of its own.
        if !rustix::process::geteuid().is_root() {
            command.uid(0).gid(0);
        }
        // Control groups are left as they are, as by the runtime inside. Only crun has an option for that;
        // the others do so by themselves where they may not change them.
        if self.runtime.is_crun {
            command.arg("--cgroup-manager=disabled");
        }
        command.arg("--root").arg(&self.state);
        command
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What kept the runtime from starting the program, if its log has an error: the exit status, without a
    /// message, since the runtime wrote that to standard error. Its own exit status may be the program's.
    pub(super) fn error(&self) -> Option<CliError> {
        let log = std::fs::read_to_string(self.log()).ok()?;
        let mut messages = log.lines().filter_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_error = matches!(entry.get("level")?.as_str()?, "error" | "fatal");
            let message = entry.get("msg")?.as_str()?.trim().to_owned();
            is_error.then_some(message)
        });
        let message = messages.next_back()?;
        log::debug!("{} says: {message}", self.runtime.path.display());
        Some(CliError::silent(status_of(&message)))
    }

    /// Removes what is left of the container.
    pub(super) fn delete(&self) {
        let mut delete = self.command();
        delete
            .args(["delete", "--force", &self.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let runtime = self.runtime.path.display();
        match delete.status() {
            Ok(status) if status.success() => {}
            Ok(status) => log::debug!("cannot clean up after {runtime}: {status}"),
            Err(error) => log::debug!("cannot clean up after {runtime}: {}", reason(&error)),
        }
    }
}

/// The exit status for what a runtime says, as Podman takes it from crun and runc.
fn status_of(message: &str) -> u8 {
    let message = message.to_lowercase();
    let says = |words: &str| message.contains(words);
    if says("exec") && (says("not found") || says("no such file")) {
        NOT_FOUND
    } else if says("exec") && (says("permission denied") || says("is a directory")) {
        CANNOT_RUN
    } else {
        NOT_STARTED
    }
}

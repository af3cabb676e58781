//! Other OCI runtimes: crun, runc, youki, runsc (gVisor), called as their command line interface says
//! (opencontainers/runtime-tools, `docs/command-line-interface.md`).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use oci_spec::runtime::Spec;
use plyfs_sys::process::{Fork, fork};
use rustix::fs::Access;
use rustix::process::{Pid, Signal};

use super::{NOT_FOUND, NOT_STARTED};
use crate::failure::{Doing, Failure, Outcome, reason};

/// A directory with a configuration for another runtime.
pub(crate) struct Bundle {
    dir: PathBuf,
    /// Where the runtime keeps what it knows of the container.
    state: PathBuf,
    id: String,
}

impl Bundle {
    /// Writes the configuration into a directory of its own.
    pub(crate) fn write(dir: &Path, spec: &Spec) -> Outcome<Self> {
        let (dir, state) = (dir.to_owned(), dir.join("state"));
        let path = dir.join("config.json");
        spec.save(&path)
            .doing(format_args!("write {}", path.display()))?;
        std::fs::create_dir(&state).doing(format_args!("make {}", state.display()))?;
        Ok(Self {
            dir,
            state,
            id: format!("plyfs-{}", std::process::id()),
        })
    }

    fn command(&self, runtime: &Path) -> Command {
        let mut command = Command::new(runtime);
        // Control groups are left as they are, as by the runtime inside.
        if is_crun(runtime) {
            command.arg("--cgroup-manager=disabled");
        }
        command.arg("--root").arg(&self.state);
        command
    }
}

/// Only crun can be told to leave control groups alone; the others do so by themselves where they may not
/// change them.
fn is_crun(runtime: &Path) -> bool {
    let said = Command::new(runtime).arg("--version").output();
    said.is_ok_and(|output| output.stdout.starts_with(b"crun "))
}

/// The path of a runtime.
///
/// # Errors
/// If there is none, or it cannot be executed.
pub(crate) fn find(runtime: &Path) -> Outcome<PathBuf> {
    let missing = || {
        Failure::new(format_args!(
            "there is no runtime {}; install it, or give its path",
            runtime.display()
        ))
        .with_status(NOT_STARTED)
    };
    let is_program =
        |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if runtime.components().count() > 1 || runtime.is_absolute() {
        let path = std::path::absolute(runtime).doing("resolve the path of the runtime")?;
        return is_program(&path).then_some(path).ok_or_else(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(runtime));
    candidates.find(|path| is_program(path)).ok_or_else(missing)
}

/// Has another runtime run a container, and waits for it. `started` gets the container's first process, if
/// the runtime tells it; what it returns is kept until the end.
pub(crate) fn run<T>(
    runtime: &Path,
    bundle: &Bundle,
    started: impl FnOnce(Option<Pid>) -> T,
    attend: impl FnOnce(Pid) -> Outcome<u8>,
) -> Outcome<u8> {
    let parent = rustix::process::getpid();
    let runs = match fork().doing("start the runtime")? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let failure = execute(runtime, bundle, parent);
            drop(failure);
            std::process::exit(NOT_FOUND.into());
        }
    };
    let _kept = started(first_process(runtime, bundle, runs));
    let status = attend(runs);
    // Nothing is left of one that ended well.
    let mut delete = bundle.command(runtime);
    delete.args(["delete", "--force", &bundle.id]);
    delete
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(error) = delete.status() {
        log::debug!(
            "cannot clean up after {}: {}",
            runtime.display(),
            reason(&error)
        );
    }
    status
}

/// Becomes the runtime, which ends with the process that attends to it.
fn execute(runtime: &Path, bundle: &Bundle, parent: Pid) -> Outcome {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .doing("bind the runtime to its parent")?;
    if rustix::process::getppid() != Some(parent) {
        return Err(Failure::new("the process that started the runtime is gone"));
    }
    let mut command = bundle.command(runtime);
    let id: &OsStr = bundle.id.as_ref();
    let words: [OsString; 4] = [
        "run".into(),
        "--bundle".into(),
        bundle.dir.clone().into(),
        id.into(),
    ];
    Err(command.args(words).exec()).doing("execute the runtime")
}

/// The first process of a container, once the runtime knows it (`state`, runtime.md).
fn first_process(runtime: &Path, bundle: &Bundle, runs: Pid) -> Option<Pid> {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let said = bundle
            .command(runtime)
            .args(["state", &bundle.id])
            .stderr(Stdio::null())
            .output();
        let state: Option<serde_json::Value> = said
            .ok()
            .and_then(|output| serde_json::from_slice(&output.stdout).ok());
        let pid = state.as_ref().and_then(|state| state.get("pid")?.as_i64());
        if let Some(pid) = pid.filter(|pid| *pid > 0) {
            return Pid::from_raw(i32::try_from(pid).ok()?);
        }
        if rustix::process::test_kill_process(runs).is_err() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

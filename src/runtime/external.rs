//! Other OCI runtimes: crun, runc, youki, runsc (gVisor), called as their command line interface says
//! (opencontainers/runtime-tools, `docs/command-line-interface.md`).

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use oci_spec::runtime::Spec;
use plyfs_sys::process::{Fork, fork};
use rustix::fs::Access;
use rustix::mount::MountFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};
use rustix::thread::UnshareFlags;

use super::{CANNOT_RUN, NOT_FOUND, NOT_STARTED, adapt};
use crate::failure::{Doing, Failure, Outcome, reason};
use crate::namespace;

/// How often something is tried that another process has to be ready for, and how long it waits between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Asks whether a child has ended, and leaves it to be waited for.
const ENDED: WaitIdOptions = WaitIdOptions::EXITED
    .union(WaitIdOptions::NOHANG)
    .union(WaitIdOptions::NOWAIT);

/// A directory with a configuration for another runtime.
pub(crate) struct Bundle {
    dir: PathBuf,
    /// Where the runtime keeps what it knows of the container.
    state: PathBuf,
    id: String,
    runtime: Runtime,
    _read_only: Option<adapt::ReadOnly>,
}

/// A runtime that was found.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    path: PathBuf,
    is_crun: bool,
}

impl Bundle {
    /// Writes the configuration into a directory of its own.
    pub(crate) fn write(dir: &Path, spec: &Spec, runtime: &Runtime) -> Outcome<Self> {
        let (dir, state) = (dir.to_owned(), dir.join("state"));
        let path = dir.join("config.json");
        let mut spec = spec.clone();
        let read_only = adapt::adapt(&mut spec, runtime.is_crun)?;
        spec.save(&path)
            .doing(format_args!("write {}", path.display()))?;
        std::fs::create_dir(&state).doing(format_args!("make {}", state.display()))?;
        Ok(Self {
            dir,
            state,
            id: format!("plyfs-{}", std::process::id()),
            runtime: runtime.clone(),
            _read_only: read_only,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.runtime.path);
        // Control groups are left as they are, as by the runtime inside. Only crun can be told so; the
        // others do so by themselves where they may not change them.
        if self.runtime.is_crun {
            command.arg("--cgroup-manager=disabled");
        }
        command.arg("--root").arg(&self.state);
        command
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The exit status for what kept the runtime from starting the program, if its log has an error. Its own
    /// exit status may be the program's. It says on standard error what it was.
    fn complaint(&self) -> Option<Failure> {
        let log = std::fs::read_to_string(self.log()).ok()?;
        let mut messages = log.lines().filter_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_error = matches!(entry.get("level")?.as_str()?, "error" | "fatal");
            let message = entry.get("msg")?.as_str()?.trim().to_owned();
            is_error.then_some(message)
        });
        let message = messages.next_back()?;
        log::debug!("{} says: {message}", self.runtime.path.display());
        Some(Failure::silent(status_of(&message)))
    }

    /// Removes what is left of the container; whether the runtime says that nothing is.
    fn delete(&self) -> bool {
        let mut delete = self.command();
        delete
            .args(["delete", "--force", &self.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match delete.status() {
            Ok(status) => status.success(),
            Err(error) => {
                let runtime = self.runtime.path.display();
                log::debug!("cannot clean up after {runtime}: {}", reason(&error));
                false
            }
        }
    }
}

/// The exit status for what a runtime says, as Podman takes it from crun and runc.
fn status_of(message: &str) -> u8 {
    let message = message.to_lowercase();
    let says = |words: &str| message.contains(words);
    match says("exec") {
        true if says("not found") || says("no such file") => NOT_FOUND,
        true if says("permission denied") || says("is a directory") => CANNOT_RUN,
        _ => NOT_STARTED,
    }
}

/// Shows crun control groups of version 2, without which it starts no container, not even one that uses
/// none. This process has a mount namespace of its own, in which nothing else needs those of version 1.
fn unify_cgroups() -> Outcome {
    const CGROUPS: &str = "/sys/fs/cgroup";
    const DOING: &str = "show crun control groups of version 2";
    if namespace::has_unified_cgroups() {
        return Ok(());
    }
    // Who may mount them is who owns the cgroup namespace.
    plyfs_sys::process::unshare(UnshareFlags::NEWCGROUP).doing(DOING)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("cgroup2", CGROUPS, "cgroup2", flags, None).doing(DOING)
}

/// Looks a runtime up.
///
/// # Errors
/// If there is none, or it cannot be executed.
pub(crate) fn find(runtime: &Path) -> Outcome<Runtime> {
    let path = path_of(runtime)?;
    let said = Command::new(&path).arg("--version").output();
    let is_crun = said.is_ok_and(|output| output.stdout.starts_with(b"crun "));
    Ok(Runtime { path, is_crun })
}

fn path_of(runtime: &Path) -> Outcome<PathBuf> {
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
/// the runtime tells it; what it returns is kept until the end. `attend` gets the process of the runtime and
/// the container's.
pub(crate) fn run<T>(
    bundle: &Bundle,
    started: impl FnOnce(Option<Pid>) -> T,
    attend: impl FnOnce(Pid, Option<Pid>) -> Outcome<u8>,
) -> Outcome<u8> {
    if bundle.runtime.is_crun {
        unify_cgroups()?;
    }
    let parent = rustix::process::getpid();
    let heir = Heir::start(bundle)?;
    let runs = match fork().doing("start the runtime")? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            drop(heir);
            let failure = execute(bundle, parent);
            drop(failure);
            std::process::exit(NOT_FOUND.into());
        }
    };
    let first = first_process(bundle, runs);
    let _kept = started(first);
    let status = attend(runs, first);
    let status = match (status, bundle.complaint()) {
        (Ok(1..), Some(complaint)) => Err(complaint),
        (status, _) => status,
    };
    // Nothing is left of one that ended well, and the heir finds nothing to do.
    bundle.delete();
    heir.dismiss()?;
    status
}

/// A process that removes the container if this one is killed: the container is no child of it.
struct Heir {
    pid: Pid,
    /// Closed when this process ends.
    will: OwnedFd,
}

impl Heir {
    fn start(bundle: &Bundle) -> Outcome<Self> {
        let (wait, will) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing("make a pipe")?;
        match fork().doing("start a process")? {
            Fork::Parent(pid) => Ok(Self { pid, will }),
            Fork::Child => {
                drop(will);
                // Signals to the caller's process group, as of Ctrl-C, are not for it.
                let away = rustix::process::setsid().is_ok();
                let told = File::from(wait).read(&mut [0]).is_ok_and(|count| count > 0);
                if away && !told {
                    // The runtime is killed by the kernel, perhaps before the container is there.
                    for _ in 0..TRIES {
                        if bundle.delete() {
                            break;
                        }
                        std::thread::sleep(PAUSE);
                    }
                }
                std::process::exit(0);
            }
        }
    }

    fn dismiss(self) -> Outcome {
        const DOING: &str = "end the process that would clean up";
        rustix::io::write(&self.will, b"x").doing(DOING)?;
        waitpid(Some(self.pid), WaitOptions::empty()).doing(DOING)?;
        Ok(())
    }
}

/// Becomes the runtime, which ends with the process that attends to it.
fn execute(bundle: &Bundle, parent: Pid) -> Outcome {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing("bind the runtime to its parent")?;
    if rustix::process::getppid() != Some(parent) {
        return Err(Failure::new("the process that started the runtime is gone"));
    }
    let mut command = bundle.command();
    command.arg("--log").arg(bundle.log());
    command.args(["--log-format=json", "run"]).arg("--bundle");
    Err(command.arg(&bundle.dir).arg(&bundle.id).exec()).doing("execute the runtime")
}

/// The first process of a container, once the runtime knows it (`state`, runtime.md).
fn first_process(bundle: &Bundle, runs: Pid) -> Option<Pid> {
    for _ in 0..TRIES {
        let said = bundle
            .command()
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
        let ended = waitid(WaitId::Pid(runs), ENDED);
        if !matches!(ended, Ok(None)) {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
    None
}

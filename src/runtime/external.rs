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
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{
    Gid, Pid, PidfdFlags, Signal, Uid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid,
};
use rustix::thread::UnshareFlags;

use super::{CANNOT_RUN, NOT_FOUND, NOT_STARTED, adapt, exit_status};
use crate::failure::{Doing, Failure, Outcome, reason};
use crate::{namespace, output};

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
        // crun takes another user for one without power, and makes a user namespace of its own.
        if !rustix::process::geteuid().is_root() {
            command.uid(0).gid(0);
        }
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
/// the runtime tells it; what it returns is kept until the end. `attend` gets the process to wait for, that of
/// the runtime, and the container's.
pub(crate) fn run<T>(
    bundle: &Bundle,
    started: impl FnOnce(Option<Pid>) -> T,
    attend: impl FnOnce(Pid, Pid, Option<Pid>) -> Outcome<u8>,
) -> Outcome<u8> {
    if bundle.runtime.is_crun {
        unify_cgroups()?;
    }
    let keeper = Keeper::start(bundle)?;
    let first = first_process(bundle, keeper.pid);
    let _kept = started(first);
    let status = attend(keeper.pid, keeper.runtime, first);
    let status = match (status, bundle.complaint()) {
        (Ok(1..), Some(complaint)) => Err(complaint),
        (status, _) => status,
    };
    // Nothing is left of one that ended well.
    bundle.delete();
    status
}

/// A process between this one and the runtime, which ends with the runtime's exit status. If this process is
/// killed it ends the runtime and the container: a runtime that is killed leaves the container behind, and
/// may not have written down yet that there is one.
struct Keeper {
    pid: Pid,
    /// Its child.
    runtime: Pid,
    /// Closed when this process ends.
    _bond: OwnedFd,
}

impl Keeper {
    fn start(bundle: &Bundle) -> Outcome<Self> {
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing("make a pipe");
        let (bond, end_of_bond) = pipe()?;
        let (listen, tell) = pipe()?;
        match fork().doing("start a process")? {
            Fork::Parent(pid) => {
                drop(tell);
                let mut number = [0; 4];
                let read = File::from(listen).read_exact(&mut number);
                let runtime = Pid::from_raw(i32::from_ne_bytes(number));
                let runtime = runtime.filter(|_| read.is_ok());
                let runtime = runtime.ok_or_else(|| Failure::new("cannot start the runtime"))?;
                Ok(Self {
                    pid,
                    runtime,
                    _bond: end_of_bond,
                })
            }
            Fork::Child => {
                drop((listen, end_of_bond));
                let status = keep(bundle, bond, tell).unwrap_or_else(|failure| {
                    output::complain(&failure);
                    NOT_STARTED
                });
                std::process::exit(status.into());
            }
        }
    }
}

/// Starts the runtime, tells its process, and waits for it or for the end of the bond.
fn keep(bundle: &Bundle, bond: OwnedFd, tell: OwnedFd) -> Outcome<u8> {
    const DOING: &str = "wait for the runtime";
    // Who loses a parent between here and the container becomes a child of this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing(DOING)?;
    let parent = rustix::process::getpid();
    let runtime = match fork().doing("start the runtime")? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            if let Err(failure) = execute(bundle, parent) {
                output::complain(&failure);
            }
            std::process::exit(NOT_STARTED.into());
        }
    };
    let number = runtime.as_raw_nonzero().get().to_ne_bytes();
    rustix::io::write(&tell, &number).doing(DOING)?;
    drop(tell);
    // What a terminal sends to the caller's process group is not for this process.
    rustix::process::setsid().doing(DOING)?;
    let ended = rustix::process::pidfd_open(runtime, PidfdFlags::empty()).doing(DOING)?;
    let mut either = [
        PollFd::new(&ended, PollFlags::IN),
        PollFd::new(&bond, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| poll(&mut either, None)).doing(DOING)?;
    if either[0].revents().is_empty() {
        rustix::process::kill_process(runtime, Signal::KILL).doing("end the runtime")?;
        end_children(DOING)?;
        bundle.delete();
        return Ok(NOT_STARTED);
    }
    let status = waitpid(Some(runtime), WaitOptions::empty()).doing(DOING)?;
    Ok(status.map_or(NOT_STARTED, |(_, status)| exit_status(status)))
}

/// Kills all children, with those that become such by that.
fn end_children(doing: &str) -> Outcome {
    loop {
        let pid = rustix::process::getpid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.doing(doing)?.split_whitespace() {
            if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                // One that has ended is still to be waited for.
                if let Err(errno) = rustix::process::kill_process(child, Signal::KILL) {
                    log::debug!("cannot end a process of the runtime: {errno}");
                }
            }
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno).doing(doing),
        }
    }
}

/// Becomes the runtime, which ends with the process that attends to it.
fn execute(bundle: &Bundle, parent: Pid) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        const DOING: &str = "become root of the namespace to start another runtime";
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).doing(DOING)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).doing(DOING)?;
    }
    // A change of ids would undo it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing("bind the runtime to its parent")?;
    if rustix::process::getppid() != Some(parent) {
        return Err(Failure::new("the process that started the runtime is gone"));
    }
    // The caller holds signals back.
    plyfs_sys::process::unblock_signals();
    let mut command = bundle.command();
    command.arg("--log").arg(bundle.log());
    command.args(["--log-format=json", "run"]).arg("--bundle");
    Err(command.arg(&bundle.dir).arg(&bundle.id).exec()).doing("execute the runtime")
}

/// The first process of a container, once the runtime knows it (`state`, runtime.md).
fn first_process(bundle: &Bundle, keeper: Pid) -> Option<Pid> {
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
        let ended = waitid(WaitId::Pid(keeper), ENDED);
        if !matches!(ended, Ok(None)) {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
    None
}

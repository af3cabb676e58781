//! The process between plyfs and another runtime.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;

use plyfs_sys::process::{Fork, fork};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{
    Gid, Pid, PidfdFlags, Signal, Uid, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};

use super::bundle::Bundle;
use crate::error::{CliError, Context, NOT_STARTED, Result};
use crate::runtime::bond::Bond;
use crate::runtime::exit_status;
use crate::runtime::report::{self, Heard, Report};

/// A process between this one and the runtime, which ends with the runtime's exit status. If this process is
/// killed it ends the runtime and the container: a runtime that is killed leaves the container behind, and
/// may not have written down yet that there is one.
pub(super) struct Keeper {
    pub(super) pid: Pid,
    /// Its child.
    pub(super) runtime: Pid,
    /// Closed when this process ends.
    _bond: OwnedFd,
}

impl Keeper {
    /// Starts the keeper, and waits until that has executed the runtime.
    pub(super) fn start(bundle: &Bundle) -> Result<Self> {
        let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (bond, end_of_bond) = pipe.context("make a pipe")?;
        let (listener, report) = report::pair()?;
        match fork().context("start a process")? {
            Fork::Parent(pid) => {
                drop((bond, report));
                let heard = listener.listen();
                if let Ok(Heard {
                    process: Some((runtime, _)),
                    ..
                }) = heard
                {
                    return Ok(Self {
                        pid,
                        runtime,
                        _bond: end_of_bond,
                    });
                }
                // It ends, and ends what it has started.
                drop(end_of_bond);
                waitpid(Some(pid), WaitOptions::empty()).context("wait for a process")?;
                heard.and(Err(CliError::new("cannot start the runtime")))
            }
            Fork::Child => {
                drop((listener, end_of_bond));
                let status = keep(bundle, &Bond::new(bond), Report::new(report));
                std::process::exit(status.into());
            }
        }
    }
}

/// Starts the runtime, reports its process, and waits for it; the exit status of the runtime.
fn keep(bundle: &Bundle, bond: &Bond, report: Report) -> u8 {
    let started = start_runtime(bundle, &report).and_then(|runtime| {
        let process = pidfd_open(runtime, PidfdFlags::empty()).context("open the runtime")?;
        report.process(runtime, &process)?;
        Ok((runtime, process))
    });
    let (runtime, process) = match started {
        Ok(started) => started,
        Err(failure) => {
            report.failure(&failure);
            return NOT_STARTED;
        }
    };
    // The caller waits until no process has it any more.
    drop(report);
    wait(bundle, runtime, &process, bond).unwrap_or_else(|failure| {
        log::error!("{failure}");
        NOT_STARTED
    })
}

fn start_runtime(bundle: &Bundle, report: &Report) -> Result<Pid> {
    const DOING: &str = "start the runtime";
    // A process between here and the container that loses its parent becomes a child of this process.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context(DOING)?;
    let parent = rustix::process::getpid();
    match fork().context(DOING)? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => {
            if let Err(failure) = execute(bundle, parent) {
                report.failure(&failure);
            }
            std::process::exit(NOT_STARTED.into());
        }
    }
}

/// Waits for the runtime, or ends it and the container when the bond ends.
fn wait(bundle: &Bundle, runtime: Pid, process: &OwnedFd, bond: &Bond) -> Result<u8> {
    const DOING: &str = "wait for the runtime";
    // What a terminal sends to the caller's process group is not for this process.
    rustix::process::setsid().context(DOING)?;
    if !bond.outlast(process)? {
        pidfd_send_signal(process, Signal::KILL).context("end the runtime")?;
        end_children(DOING)?;
        bundle.delete();
        return Ok(NOT_STARTED);
    }
    let status = waitpid(Some(runtime), WaitOptions::empty()).context(DOING)?;
    Ok(status.map_or(NOT_STARTED, |(_, status)| exit_status(status)))
}

/// Kills all children, with those that become children by that.
fn end_children(action: &str) -> Result {
    loop {
        let pid = rustix::process::getpid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.context(action)?.split_whitespace() {
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
            Err(errno) => return Err(errno).context(action),
        }
    }
}

/// Becomes the runtime, which ends with the process that attends to it.
fn execute(bundle: &Bundle, parent: Pid) -> Result {
    if !rustix::process::geteuid().is_root() {
        const DOING: &str = "become root of the namespace to start another runtime";
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).context(DOING)?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).context(DOING)?;
    }
    // A change of ids would undo it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("bind the runtime to its parent")?;
    if rustix::process::getppid() != Some(parent) {
        return Err(CliError::new(
            "the process that started the runtime is gone",
        ));
    }
    let mut command = bundle.command();
    command.arg("--log").arg(bundle.log());
    command.args(["--log-format=json", "run"]).arg("--bundle");
    Err(command.arg(&bundle.dir).arg(&bundle.id).exec()).context("execute the runtime")
}

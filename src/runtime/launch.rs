//! The caller's side: starting a container, or a process in one.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use oci_spec::runtime::{Process, Spec};
use plyfs_sys::process::{Fork, fork};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};

use super::namespaces::Namespace;
use super::order::{Order, Task, inherit};
use super::root::proc_path;
use super::{child, exit_status, report, sealed};
use crate::error::{CliError, Context, NOT_STARTED, Result};

/// A process in a container that the caller waits for. It is killed when this is dropped before it ended, or
/// when the caller ends.
pub(crate) struct Started {
    /// Its pid, as the caller sees it.
    pub(crate) pid: Pid,
    /// The namespaces of a container that was started, as links in /proc/PID/ns say them.
    pub(crate) namespaces: Vec<String>,
    /// The master of its terminal, if it has one.
    pub(crate) console: Option<OwnedFd>,
    pidfd: OwnedFd,
    parent: Parent,
}

/// A child of the caller, which ends when the process in the container does ([`super::parent`]).
struct Parent {
    pid: Pid,
    /// While it is open the process in the container may live.
    bond: Option<OwnedFd>,
    /// Whether it was waited for.
    ended: bool,
}

/// Starts a container. With `init`, a process of this program is its first one. Signals are held back.
///
/// # Errors
/// Why the program does not run, with the exit status 125, 126 or 127 that Podman has for it.
pub(crate) fn start(spec: Spec, init: bool) -> Result<Started> {
    let terminal = spec.process().as_ref().and_then(Process::terminal) == Some(true);
    let spec = Box::new(spec);
    launch(Task::Start { spec, init }, terminal, Vec::new())
}

/// Starts a process in a container, whose `namespaces` this process is not in, as `user`, whom the files of the
/// container name, or else as the process says. Signals are held back.
///
/// # Errors
/// As [`start`].
pub(crate) fn join(
    spec: Spec,
    process: Process,
    user: Option<String>,
    namespaces: Vec<Namespace>,
) -> Result<Started> {
    let terminal = process.terminal() == Some(true);
    let numbers = namespaces
        .iter()
        .map(|one| (one.fd.as_raw_fd(), one.kind.bits()));
    let task = Task::Join {
        spec: Box::new(spec),
        process: Box::new(process),
        user,
        namespaces: numbers.collect(),
    };
    launch(task, terminal, namespaces)
}

fn launch(task: Task, terminal: bool, namespaces: Vec<Namespace>) -> Result<Started> {
    let program = sealed::this_program()?;
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (bond, end_of_bond) = pipe.context("make a pipe")?;
    let (listener, report) = report::pair()?;
    let order = Order {
        task,
        bond: bond.as_raw_fd(),
        report: report.as_raw_fd(),
        terminal,
    };
    let order = order.write()?;
    let pid = match fork().context("start the container")? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let passed_on = [&bond, &report].into_iter();
            let passed_on = passed_on.chain(namespaces.iter().map(|one| &one.fd));
            let failure = execute(&program, &order, passed_on);
            report::Report::new(report).failure(&failure);
            std::process::exit(NOT_STARTED.into());
        }
    };
    let parent = Parent {
        pid,
        bond: Some(end_of_bond),
        ended: false,
    };
    // A mount namespace that is held open keeps the container's root mounted.
    drop((bond, report, order, program, namespaces));
    let heard = listener.listen()?;
    let (pid, pidfd) = heard
        .process
        .ok_or_else(|| CliError::new("the container ended before it was started"))?;
    Ok(Started {
        pid,
        namespaces: heard.namespaces,
        console: heard.console,
        pidfd,
        parent,
    })
}

impl Started {
    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<u8>> {
        let ended = waitpid(Some(self.parent.pid), WaitOptions::NOHANG);
        let Some((_, status)) = ended.context("wait for the container")? else {
            return Ok(None);
        };
        self.parent.ended = true;
        if status.terminating_signal().is_some() {
            // The parent was killed, and cannot kill the process any more.
            self.signal(Signal::KILL).context("end the container")?;
        }
        Ok(Some(exit_status(status)))
    }

    /// Sends it a signal. If it has ended, that does nothing.
    pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(Errno::SRCH) => Ok(()),
            sent => sent,
        }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // It kills the process then, and ends.
        self.bond = None;
        if !self.ended {
            let ended = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()));
            if let Err(errno) = ended {
                log::debug!("cannot wait for the container: {errno}");
            }
        }
    }
}

/// Executes this program once more. Returns only why it could not.
fn execute<'f>(
    program: &OwnedFd,
    order: &OwnedFd,
    passed_on: impl Iterator<Item = &'f OwnedFd>,
) -> CliError {
    let inherited = || -> Result<RawFd> {
        keep_capabilities()?;
        for fd in passed_on {
            inherit(fd)?;
        }
        inherit(order)
    };
    let number = match inherited() {
        Ok(number) => number,
        Err(failure) => return failure,
    };
    let error = Command::new(proc_path(program))
        .arg0(child::NAME)
        .arg(number.to_string())
        .env_clear()
        .exec();
    let failed: Result = Err(error).context("execute the copy of this program");
    failed
        .err()
        .unwrap_or_else(|| CliError::new("cannot execute the copy of this program"))
}

/// Lets capabilities go along to what is executed, which the kernel does for root alone. Those that the
/// container is to have are set in the end, whatever the copy has.
fn keep_capabilities() -> Result {
    const DOING: &str = "keep capabilities";
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut sets = rustix::thread::capabilities(None).context(DOING)?;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets).context(DOING)?;
    for capability in sets.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true).context(DOING)?;
    }
    Ok(())
}

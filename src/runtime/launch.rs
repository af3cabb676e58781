//! The caller's side: starting a container, or a process in one.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use oci_spec::runtime::{Process, Spec};
use plyfs_sys::process::{ChildOf, Fork, fork_into};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use super::order::{Order, Task, inherit};
use super::root::proc_path;
use super::{NOT_STARTED, child, report, sealed};
use crate::failure::{Doing, Failure, Outcome};

/// A process in a container that the caller waits for. It is killed when this is dropped before it ended, or
/// when the caller ends.
pub(crate) struct Started {
    /// Its pid, as the caller sees it.
    pub(crate) pid: Pid,
    /// The master of its terminal, if it has one.
    pub(crate) console: Option<OwnedFd>,
    _bond: OwnedFd,
}

/// Starts a container. With `init`, a process of this program is its first one.
///
/// # Errors
/// Why the program does not run, with the exit status 125, 126 or 127 that Podman has for it.
pub(crate) fn start(spec: Spec, init: bool) -> Outcome<Started> {
    let terminal = spec.process().as_ref().and_then(Process::terminal) == Some(true);
    let spec = Box::new(spec);
    launch(
        Task::Start { spec, init },
        terminal,
        UnshareFlags::NEWPID,
        None,
    )
}

/// Starts a process in the container whose first process `container` is of (pidfd_open(2)), as `user`, whom
/// the files of the container name, or else as the process says.
///
/// # Errors
/// As [`start`].
pub(crate) fn join(
    spec: Spec,
    process: Process,
    user: Option<String>,
    container: &OwnedFd,
    namespaces: UnshareFlags,
) -> Outcome<Started> {
    let terminal = process.terminal() == Some(true);
    let task = Task::Join {
        spec: Box::new(spec),
        process: Box::new(process),
        user,
        container: container.as_raw_fd(),
        namespaces: namespaces.bits(),
    };
    launch(task, terminal, UnshareFlags::empty(), Some(container))
}

fn launch(
    task: Task,
    terminal: bool,
    namespaces: UnshareFlags,
    container: Option<&OwnedFd>,
) -> Outcome<Started> {
    let program = sealed::this_program()?;
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing("make a pipe");
    let (bond, end_of_bond) = pipe()?;
    let (listen, report) = pipe()?;
    let sockets = match terminal {
        true => Some(socket_pair()?),
        false => None,
    };
    let order = Order {
        task,
        bond: bond.as_raw_fd(),
        report: report.as_raw_fd(),
        console: sockets.as_ref().map(|(_, theirs)| theirs.as_raw_fd()),
    };
    let order = order.write()?;
    let started = fork_into(namespaces, ChildOf::Caller).doing("start the container")?;
    let Fork::Parent(child) = started else {
        let theirs = sockets.as_ref().map(|(_, theirs)| theirs);
        let passed_on = [Some(&bond), Some(&report), theirs, container];
        let failure = execute(&program, &order, passed_on.into_iter().flatten());
        report::Report::new(report).failure(&failure);
        std::process::exit(NOT_STARTED.into());
    };
    drop((bond, report, order, program));
    let console = sockets.and_then(|(ours, theirs)| {
        drop(theirs);
        receive(&ours)
    });
    let reported = report::listen(listen);
    let joins = namespaces.is_empty();
    if joins || reported.is_err() {
        // What is left of one that failed, or that has done its work.
        waitpid(Some(child), WaitOptions::empty()).doing("wait for the container")?;
    }
    let pid = match (reported?, joins) {
        (Some(pid), _) => pid,
        (None, false) => child,
        (None, true) => return Err(Failure::new("the container ended before it was entered")),
    };
    Ok(Started {
        pid,
        console,
        _bond: end_of_bond,
    })
}

/// Executes this program once more. Returns only why it could not.
fn execute<'f>(
    program: &OwnedFd,
    order: &OwnedFd,
    passed_on: impl Iterator<Item = &'f OwnedFd>,
) -> Failure {
    let inherited = || -> Outcome<RawFd> {
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
    let failed: Outcome = Err(error).doing("execute the copy of this program");
    failed
        .err()
        .unwrap_or_else(|| Failure::new("cannot execute the copy of this program"))
}

/// Lets capabilities go along to what is executed, which the kernel does for root alone. Those that the
/// container is to have are set in the end, whatever the copy has.
fn keep_capabilities() -> Outcome {
    const DOING: &str = "keep capabilities";
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut sets = rustix::thread::capabilities(None).doing(DOING)?;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets).doing(DOING)?;
    for capability in sets.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true).doing(DOING)?;
    }
    Ok(())
}

fn socket_pair() -> Outcome<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .doing("make a socket")
}

/// The descriptor that the child sends; `None` if it ended without.
fn receive(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

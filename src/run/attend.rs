//! Waiting for a container: signals and the terminal go to it, and its exit status comes back.

use std::os::fd::AsFd;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use plyfs_sys::process::SignalQueue;

use super::Relay;
use crate::failure::{Doing, Failure, Outcome};
use crate::live::PASSED_ON;
use crate::runtime::launch::Started;
use crate::runtime::{NOT_STARTED, exit_status};

/// The exit status of what SIGKILL ended.
const KILLED: u8 = 128 + 9;

/// Whether this process has a terminal to work at, and is not in the background there (tcgetpgrp(3)).
pub(crate) fn has_terminal() -> bool {
    is_foreground() && rustix::termios::isatty(std::io::stdout())
}

fn is_foreground() -> bool {
    let group = rustix::termios::tcgetpgrp(std::io::stdin());
    group.is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Keeps what the caller has open from a container: descriptors, directories, and a terminal that is not for
/// this process. `tty` is whether a terminal was asked for.
pub(crate) fn shut_off_caller(tty: Option<bool>) -> Outcome {
    plyfs_sys::process::close_inherited(None).doing("close descriptors")?;
    refuse_directories()?;
    leave_terminal_of_others(tty)
}

/// Refuses a directory as standard input, output or error: the container would come to the machine's tree from
/// there (openat(2)).
fn refuse_directories() -> Outcome {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (name, fd) in [
        ("input", stdin.as_fd()),
        ("output", stdout.as_fd()),
        ("error", stderr.as_fd()),
    ] {
        let stat = rustix::fs::fstat(fd);
        if stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()) {
            return Err(Failure::new(format_args!(
                "standard {name} is a directory, by which a container could leave; redirect it"
            )));
        }
    }
    Ok(())
}

/// Takes a terminal that is another job's from standard input: in a session of its own, a container would
/// not be stopped when it reads there, and would take what is typed for that job. With a terminal asked for
/// (`tty`), this process is stopped instead until it is in the foreground (SIGTTOU), as any program is.
fn leave_terminal_of_others(tty: Option<bool>) -> Outcome {
    if tty == Some(true) || !rustix::termios::isatty(std::io::stdin()) || is_foreground() {
        return Ok(());
    }
    let null = std::fs::File::open("/dev/null").doing("open /dev/null")?;
    rustix::stdio::dup2_stdin(null).doing("close standard input")
}

/// How a command ends that ran a program: as the program did, or with the status for one that was not started.
pub(crate) fn end_as(program: Outcome<u8>) -> Outcome {
    match program {
        Ok(0) => Ok(()),
        Ok(status) => Err(Failure::silent(status)),
        Err(failure) if failure.status() == 1 => Err(failure.with_status(NOT_STARTED)),
        Err(failure) => Err(failure),
    }
}

/// Waits for a container, with its terminal connected to the caller's, if it has one.
pub(crate) fn with_terminal(mut started: Started) -> Outcome<u8> {
    // Before there are threads, which would get them.
    let queue = block()?;
    let first = started.pid;
    // The kernel does not end the first process of a container by a key, as it does others.
    let on_key = move |group: Pid, signal: Signal| {
        if group == first
            && does_nothing_about(first, signal)
            && let Err(error) = kill_process(rustix::process::getpid(), signal)
        {
            log::debug!("cannot pass a key on: {error}");
        }
    };
    let relay = started.console.take();
    let relay = relay
        .map(|master| Relay::start(master, on_key))
        .transpose()?;
    let status = wait(first, first, &queue, relay.as_ref(), Some(first));
    // What it printed last comes before the prompt of the caller's shell.
    if let (Some(relay), Ok(_)) = (relay, &status) {
        relay.finish();
    }
    status
}

/// Waits for a child that ends with another runtime, which passes signals on by itself to the first process
/// of a container.
pub(crate) fn attend(child: Pid, runtime: Pid, first: Option<Pid>) -> Outcome<u8> {
    wait(child, runtime, &block()?, None, first)
}

/// Holds signals back until this process waits for the container, since one may come as soon as its program
/// runs.
pub(crate) fn hold_signals() -> Outcome {
    block().map(drop)
}

fn block() -> Outcome<SignalQueue> {
    let mut signals = PASSED_ON.to_vec();
    signals.push(Signal::CHILD);
    SignalQueue::block(&signals).doing("wait for signals")
}

/// Waits for a child, and passes signals on to `receiver`. One that would end a process, and for which the first
/// process of the container has no handler, is not delivered there by the kernel (pid_namespaces(7)): that
/// process is killed, and the exit status is that of the signal.
fn wait(
    child: Pid,
    receiver: Pid,
    queue: &SignalQueue,
    relay: Option<&Relay>,
    first: Option<Pid>,
) -> Outcome<u8> {
    let mut ended_by = None;
    loop {
        // Before waiting: it may have ended before its signal was blocked.
        let ended = waitpid(Some(child), WaitOptions::NOHANG).doing("wait for the container")?;
        if let Some((_, status)) = ended {
            return Ok(match (exit_status(status), ended_by) {
                (KILLED, Some(signal)) => 128 + signal,
                (status, _) => status,
            });
        }
        let received = queue.wait().doing("wait for signals")?.signal;
        match (received, relay) {
            (Signal::CHILD, _) => continue,
            (Signal::WINCH, Some(relay)) => {
                relay.resize();
                continue;
            }
            _ => {}
        }
        let unhandled =
            first.filter(|first| ends_by_default(received) && does_nothing_about(*first, received));
        let sent = match unhandled {
            Some(first) => {
                ended_by = u8::try_from(received.as_raw()).ok();
                kill_process(first, Signal::KILL)
            }
            None => kill_process(receiver, received),
        };
        match sent {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => log::warn!("cannot pass a signal on: {error}"),
        }
    }
}

/// Whether a signal of those that are passed on ends a process which does nothing about it (signal(7)).
fn ends_by_default(signal: Signal) -> bool {
    !matches!(signal, Signal::WINCH | Signal::CONT)
}

/// Whether a process neither handles, waits for nor ignores a signal, by its masks in /proc (proc(5)).
fn does_nothing_about(process: Pid, signal: Signal) -> bool {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let bit = 1_u64 << (signal.as_raw() - 1);
    let mut masks = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        ["SigBlk", "SigIgn", "SigCgt"]
            .contains(&name)
            .then_some(value)
    });
    // If it cannot be told, the signal is delivered as it is.
    let mut seen = false;
    let concerned = masks.any(|mask| {
        seen = true;
        u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & bit != 0)
    });
    seen && !concerned && !waits_for_signals(process)
}

/// Whether a thread of a process is in sigwaitinfo(2) or its kin, while which the signals waited for are in no
/// mask of /proc. If it cannot be told, it may be.
fn waits_for_signals(process: Pid) -> bool {
    let wait = syscalls::Sysno::rt_sigtimedwait.id().to_string();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())) else {
        return true;
    };
    threads.flatten().any(|thread| {
        let call = std::fs::read_to_string(thread.path().join("syscall"));
        call.map_or(true, |call| call.split(' ').next() == Some(wait.as_str()))
    })
}

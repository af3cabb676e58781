//! Waiting for a container: signals and the terminal go to it, and its exit status comes back.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use plyfs_sys::process::SignalQueue;

use crate::containers::live::PASSED_ON;
use crate::error::{CliError, Context, NOT_STARTED, Result};
use crate::runtime::launch::Started;
use crate::runtime::streams::{self, Input};
use crate::runtime::terminal::Relay;
use crate::runtime::{KILLED, exit_status};

/// Whether this process has a terminal to work at, and is not in the background there (tcgetpgrp(3)).
pub(crate) fn has_terminal() -> bool {
    is_foreground() && rustix::termios::isatty(std::io::stdout())
}

fn is_foreground() -> bool {
    let group = rustix::termios::tcgetpgrp(std::io::stdin());
    group.is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Keeps what the caller has open from a container: descriptors, directories, and a terminal that is not for
/// this process. `tty` is whether a terminal was asked for. What is returned is to be kept until the container
/// has ended.
pub(crate) fn shut_off_caller(tty: Option<bool>) -> Result<Option<Input>> {
    plyfs_sys::process::close_inherited(None).context("close descriptors")?;
    leave_terminal_of_others(tty)?;
    streams::protect()
}

/// Takes a terminal that is another job's from standard input: in a session of its own, a container would
/// not be stopped when it reads there, and would take what is typed for that job. With a terminal asked for
/// (`tty`), this process is stopped instead until it is in the foreground (SIGTTOU), as any program is.
fn leave_terminal_of_others(tty: Option<bool>) -> Result {
    if tty == Some(true) || !rustix::termios::isatty(std::io::stdin()) || is_foreground() {
        return Ok(());
    }
    let null = std::fs::File::open("/dev/null").context("open /dev/null")?;
    rustix::stdio::dup2_stdin(null).context("close standard input")
}

/// How a command ends that ran a program: as the program did, or with the status for one that was not started.
pub(crate) fn end_as(program: Result<u8>) -> Result {
    match program {
        Ok(0) => Ok(()),
        Ok(status) => Err(CliError::silent(status)),
        Err(failure) if failure.status() == 1 => Err(failure.with_status(NOT_STARTED)),
        Err(failure) => Err(failure),
    }
}

/// What is waited for.
trait Attended {
    /// Its exit status, if it has ended.
    fn ended(&mut self) -> Result<Option<u8>>;
    /// Passes a signal on.
    fn signal(&self, signal: Signal) -> rustix::io::Result<()>;
    /// The process of the container that the signals are for in the end, if it is known.
    fn process(&self) -> Option<Pid>;
    /// Kills that process.
    fn kill(&self) -> rustix::io::Result<()>;
}

impl Attended for Started {
    fn ended(&mut self) -> Result<Option<u8>> {
        Started::ended(self)
    }

    fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        Started::signal(self, signal)
    }

    fn process(&self) -> Option<Pid> {
        Some(self.pid)
    }

    fn kill(&self) -> rustix::io::Result<()> {
        self.signal(Signal::KILL)
    }
}

/// Another runtime, which passes signals on by itself to the first process of its container.
struct External {
    /// A child of this process, which ends with the runtime.
    child: Pid,
    runtime: Pid,
    first: Option<Pid>,
}

impl Attended for External {
    fn ended(&mut self) -> Result<Option<u8>> {
        let ended =
            waitpid(Some(self.child), WaitOptions::NOHANG).context("wait for the runtime")?;
        Ok(ended.map(|(_, status)| exit_status(status)))
    }

    fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        kill_process(self.runtime, signal)
    }

    fn process(&self) -> Option<Pid> {
        self.first
    }

    fn kill(&self) -> rustix::io::Result<()> {
        self.first
            .map_or(Ok(()), |first| kill_process(first, Signal::KILL))
    }
}

/// Waits for a container, with its terminal connected to the caller's, if it has one.
pub(crate) fn with_terminal(mut started: Started, signals: &SignalQueue) -> Result<u8> {
    let first = started.pid;
    // The kernel does not end the first process of a container by a key, as it does others.
    let on_key = move |group: Pid, signal: Signal| {
        if group == first
            && does_nothing_about(first, signal)
            && let Err(error) = kill_process(rustix::process::getpid(), signal)
        {
            log::debug!("cannot forward a key to the container: {error}");
        }
    };
    let relay = started.console.take();
    let relay = relay
        .map(|master| Relay::start(master, on_key))
        .transpose()?;
    let status = wait(&mut started, signals, relay.as_ref());
    // What it printed last comes before the prompt of the caller's shell.
    if let (Some(relay), Ok(_)) = (relay, &status) {
        relay.finish();
    }
    status
}

/// Waits for a child that ends with another runtime, `runtime`. `first` is the first process of the container.
pub(crate) fn attend(
    child: Pid,
    runtime: Pid,
    first: Option<Pid>,
    signals: &SignalQueue,
) -> Result<u8> {
    let mut external = External {
        child,
        runtime,
        first,
    };
    wait(&mut external, signals, None)
}

/// Holds signals back until this process waits for the container, since one may come as soon as its program
/// runs. It must have no other threads yet, which would get them.
pub(crate) fn hold_signals() -> Result<SignalQueue> {
    let mut signals = PASSED_ON.to_vec();
    signals.push(Signal::CHILD);
    SignalQueue::block(&signals).context("wait for signals")
}

/// Waits for the end, and passes signals on. One that would end a process, and for which the first process of
/// the container has no handler, is not delivered there by the kernel (pid_namespaces(7)): that process is
/// killed, and the exit status is that of the signal.
fn wait(attended: &mut impl Attended, signals: &SignalQueue, relay: Option<&Relay>) -> Result<u8> {
    let mut ended_by = None;
    loop {
        // Before waiting: it may have ended before its signal was blocked.
        if let Some(status) = attended.ended()? {
            return Ok(match (status, ended_by) {
                (KILLED, Some(signal)) => 128 + signal,
                (status, _) => status,
            });
        }
        let received = signals.wait().context("wait for signals")?.signal;
        match (received, relay) {
            (Signal::CHILD, _) => continue,
            (Signal::WINCH, Some(relay)) => {
                relay.resize();
                continue;
            }
            _ => {}
        }
        let process = attended.process();
        let unhandled = ends_by_default(received)
            && process.is_some_and(|process| does_nothing_about(process, received));
        let sent = if unhandled {
            ended_by = u8::try_from(received.as_raw()).ok();
            attended.kill()
        } else {
            attended.signal(received)
        };
        match sent {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => log::warn!("cannot forward a signal to the container: {error}"),
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

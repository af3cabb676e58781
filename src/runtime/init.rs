//! The first process of a container that is not its program (`--init`): passes signals on to the program and
//! reaps what is left to it, as catatonit(1) and tini do.

use plyfs_sys::process::{Fork, SignalQueue, fork_into};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use rustix::thread::UnshareFlags;

use super::exit_status;
use crate::error::{Context, NOT_STARTED, Result};

/// Which of two processes this is.
pub(super) enum Role {
    /// The one that becomes the program.
    Program,
    /// The first one.
    First(First),
}

/// What the first process does until the program has ended.
pub(super) struct First {
    queue: SignalQueue,
    program: Pid,
}

/// Starts a child for the program.
pub(super) fn split() -> Result<Role> {
    let passed_on: Vec<Signal> = all_signals().collect();
    // Before there is a child, whose end sends a signal.
    let queue = SignalQueue::block(&passed_on).context("wait for signals")?;
    let started = fork_into(UnshareFlags::empty()).context("start the program")?;
    match started {
        Fork::Parent(program) => Ok(Role::First(First { queue, program })),
        Fork::Child => {
            queue.unblock().context("let signals through")?;
            Ok(Role::Program)
        }
    }
}

/// All that a program can handle and that is not about this process alone.
fn all_signals() -> impl Iterator<Item = Signal> {
    let about_this = [
        Signal::KILL,
        Signal::STOP,
        Signal::SEGV,
        Signal::ILL,
        Signal::BUS,
        Signal::FPE,
        Signal::TRAP,
        Signal::SYS,
        Signal::ABORT,
    ];
    (1..32)
        .filter_map(Signal::from_named_raw)
        .filter(move |signal| !about_this.contains(signal))
}

impl First {
    /// Passes signals on and reaps; the exit status of the program.
    pub(super) fn attend(&self) -> u8 {
        loop {
            while let Ok(Some((ended, status))) = wait(WaitOptions::NOHANG) {
                if ended == self.program {
                    return exit_status(status);
                }
            }
            match self.queue.wait() {
                Ok(received) if received.signal == Signal::CHILD => {}
                // It may just have ended.
                Ok(received) => drop(kill_process(self.program, received.signal)),
                Err(_) => return NOT_STARTED,
            }
        }
    }
}

//! What ends a process of a container with the process that attends to it: without that one, no process
//! would wait for it, and its mount would go under it.
//!
//! Two ties hold. The kernel kills the process with its [`parent`](super::parent) (prctl(2),
//! `PR_SET_PDEATHSIG`), and the parent kills it when the attending process is gone, which closes the other
//! end of a pipe. The first alone would not do: a program can undo it, and executing a set-user-ID program
//! undoes it too. The second ends only with the parent, which is outside of the container.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::error::{CliError, Context, Result};

/// The end of a bond for what is on its way into a container.
pub(super) struct Bond {
    /// The end for reading of a pipe, whose other end only the attending process has.
    caller: OwnedFd,
}

impl Bond {
    pub(super) fn new(caller: OwnedFd) -> Self {
        Self { caller }
    }

    /// Has the kernel kill this process when its parent ends. A change of ids undoes it (prctl(2),
    /// `PR_SET_PDEATHSIG`).
    ///
    /// # Errors
    /// If the attending process is gone already.
    pub(super) fn tie(&self) -> Result {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context("bind the container to its parent")?;
        // It may have ended before, and the pid of a parent in another pid namespace is always 0.
        let mut fds = [PollFd::new(&self.caller, PollFlags::empty())];
        match poll(&mut fds, Some(&Timespec::default())).context("look for the caller")? {
            0 => Ok(()),
            _ => Err(CliError::new(
                "the process that started the container is gone",
            )),
        }
    }

    /// Waits until a process has ended (pidfd_open(2)) or the attending process is gone; whether the
    /// process has ended.
    pub(super) fn outlast(&self, process: &OwnedFd) -> Result<bool> {
        let mut either = [
            PollFd::new(process, PollFlags::IN),
            PollFd::new(&self.caller, PollFlags::empty()),
        ];
        rustix::io::retry_on_intr(|| poll(&mut either, None)).context("wait for the container")?;
        Ok(!either[0].revents().is_empty())
    }
}

//! What ends the first process of a container with the process that attends to it: without that one,
//! nothing would wait for it, and its mount would go under it.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::failure::{Doing, Failure, Outcome};

/// The child's end of a bond.
pub(super) struct Bond {
    /// The end for reading of a pipe, whose other end only the parent has.
    parent: OwnedFd,
}

impl Bond {
    pub(super) fn new(parent: OwnedFd) -> Self {
        Self { parent }
    }

    /// Has the kernel kill this process when its parent ends. A change of ids undoes it (prctl(2),
    /// PR_SET_PDEATHSIG).
    pub(super) fn tie(&self) -> Outcome {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing("bind the container to its parent")?;
        // The parent may have ended before, and the pid of a parent in another pid namespace is always 0.
        let mut fds = [PollFd::new(&self.parent, PollFlags::empty())];
        match poll(&mut fds, Some(&Timespec::default())).doing("look for the parent")? {
            0 => Ok(()),
            _ => Err(Failure::new(
                "the process that started the container is gone",
            )),
        }
    }
}

//! Waiting for the end of a process that need not be a child (pidfd_open(2)).

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether a process ends before this time is over (pidfd_open(2), poll(2)).
pub(crate) fn ends_within(process: &OwnedFd, time: Timespec) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&time))? > 0)
}

/// Waits until a process has ended.
pub(crate) fn wait_for_end(process: &OwnedFd) -> rustix::io::Result<()> {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).map(drop)
}

/// Whether a process has ended.
pub(crate) fn has_ended(process: &OwnedFd) -> bool {
    ends_within(process, Timespec::default()).unwrap_or(false)
}

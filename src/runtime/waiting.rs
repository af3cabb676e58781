//! Reading and writing that wait where a descriptor would not: one that is shared with a process that has made it
//! non-blocking (fcntl(2), `O_NONBLOCK`).

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Reads as read(2); 0 at the end.
pub(super) fn read(from: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::read(&from, &mut *buffer) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&from, PollFlags::IN)?,
            read => return read,
        }
    }
}

/// Writes everything, as write(2).
pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&to, PollFlags::OUT)?,
            written => bytes = bytes.get(written?..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn wait(fd: impl AsFd, for_what: PollFlags) -> rustix::io::Result<()> {
    let mut fds = [PollFd::new(&fd, for_what)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).map(drop)
}

//! Descriptors that this process was started with.
//!
//! Which ones they are is found out once, by [`remember`] as the first statement of `main`. At that time
//! nothing in the program owns a descriptor, but for standard input, output and error, which are left alone.
//! So a number that was found stands for an open descriptor without an owner until this module closes it or
//! gives it away, and it does either once. Descriptors that are opened later have other numbers, since these
//! are taken.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use rustix::io::Errno;

use crate::Result;

/// Numbers without an owner; `None` as long as they are not known.
static INHERITED: Mutex<Option<Vec<RawFd>>> = Mutex::new(None);

/// Finds out which descriptors this process was started with. To be called as the first statement of `main`.
/// Without /proc they stay unknown, and the other functions here fail.
///
/// Those are left out that are marked close-on-exec: no descriptor with that mark can have come through
/// execve(2), and what the standard library and rustix open has it. So what a late call finds is still no
/// descriptor of theirs. A second call changes nothing.
pub fn remember() {
    let Ok(mut inherited) = INHERITED.lock() else {
        return;
    };
    if inherited.is_none()
        && let Ok(entries) = std::fs::read_dir("/proc/self/fd")
    {
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let came_along = |fd: &RawFd| *fd > 2 && is_kept_by_exec(*fd);
        *inherited = Some(numbers.filter(came_along).collect());
    }
}

/// Closes the descriptors that this process was started with, but for standard input, output and error and
/// the one to `keep`.
///
/// # Errors
/// `NOENT` if they are not known.
pub fn close_inherited(keep: Option<RawFd>) -> Result<()> {
    let mut inherited = INHERITED.lock().map_err(|_| Errno::DEADLK)?;
    let numbers = inherited.as_mut().ok_or(Errno::NOENT)?;
    for fd in numbers.extract_if(.., |fd| Some(*fd) != keep) {
        // SAFETY: the number is of an open descriptor that nothing owns, and is not in the list any more.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Takes a descriptor that this process was started with, and marks it close-on-exec.
///
/// # Errors
/// `BADF` if there is none of this number, or if it was taken or closed already.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd> {
    let mut inherited = INHERITED.lock().map_err(|_| Errno::DEADLK)?;
    let numbers = inherited.as_mut().ok_or(Errno::BADF)?;
    let at = numbers.iter().position(|known| *known == number);
    let fd = numbers.swap_remove(at.ok_or(Errno::BADF)?);
    // SAFETY: the number is of an open descriptor that nothing owns, and is not in the list any more.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Whether a number is of an open descriptor that stays open through execve(2).
fn is_kept_by_exec(fd: RawFd) -> bool {
    // SAFETY: asks for the flags of a number, whatever it stands for.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags != -1 && flags & libc::FD_CLOEXEC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the test harness itself was started with is not touched: every number asked for is a new one.
    #[test]
    fn what_this_program_opens_is_not_inherited() {
        assert_eq!(take_inherited(0).err(), Some(Errno::BADF));
        remember();
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(take_inherited(number).err(), Some(Errno::BADF));
        // Not even if it is passed on to what is executed.
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        remember();
        assert_eq!(take_inherited(number).err(), Some(Errno::BADF));
        for number in 0..3 {
            assert_eq!(take_inherited(number).err(), Some(Errno::BADF));
        }
    }
}

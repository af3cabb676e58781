//! Symbolic links, and the regular files that stand for them.

use plyfs_sys::xattr::At;
use rustix::fs::OFlags;

use crate::disk::calls;
use crate::error::{Errno, Result, decided};

/// The target of a symbolic link, be it one on disk or a regular file that stands for one.
///
/// # Errors
/// `INVAL` if the target is longer than any can be, and those of readlinkat(2).
pub(crate) fn read_link(at: At<'_>) -> Result<Vec<u8>> {
    let read = match at {
        At::Fd(fd) => rustix::fs::readlinkat(fd, c"", Vec::new()),
        At::Name(dir, name) => rustix::fs::readlinkat(dir, name, Vec::new()),
    };
    match read {
        Ok(target) => Ok(target.into_bytes()),
        Err(Errno::INVAL) => read_stand_in(at),
        // What readlinkat(2) says of a descriptor that is of no symbolic link.
        Err(Errno::NOENT) if matches!(at, At::Fd(_)) => read_stand_in(at),
        Err(error) => Err(error),
    }
}

fn read_stand_in(at: At<'_>) -> Result<Vec<u8>> {
    /// `PATH_MAX` without its NUL.
    const LONGEST: usize = 4095;
    let file = calls::open(at, OFlags::RDONLY)?;
    let mut target = vec![0; LONGEST + 1];
    let len = rustix::io::pread(&file, &mut target, 0)?;
    if len > LONGEST {
        return Err(decided(Errno::INVAL));
    }
    target.truncate(len);
    Ok(target)
}

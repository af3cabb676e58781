//! The entries of one directory.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, RawDir};

use crate::error::Result;

/// How much of a directory is read at once, in bytes: what glibc reads.
const ROOM: usize = 32 << 10;

/// Calls `f` with name, type and inode number of every entry but `.` and `..` of a directory opened
/// for reading (getdents64(2)).
///
/// # Errors
/// Those of getdents64(2), and what `f` returns, which ends it.
pub(crate) fn for_each_entry(
    dir: BorrowedFd<'_>,
    mut f: impl FnMut(&CStr, FileType, u64) -> Result<()>,
) -> Result<()> {
    // Not on the stack, each page of which would be touched, and the most of it is for few directories.
    let mut buffer = Vec::with_capacity(ROOM);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            f(name, entry.file_type(), entry.ino())?;
        }
    }
    Ok(())
}

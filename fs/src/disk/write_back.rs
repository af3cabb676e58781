//! Writing a large file back in steps that can be interrupted.

use std::os::fd::BorrowedFd;

use plyfs_sys::writeback::{Writeback, write_range};

use crate::disk::calls::stat_fd;
use crate::disk::interrupt::{self, STEP};
use crate::error::{Errno, Result};

/// Writes the data of a large file back, so that fsync(2), which cannot be interrupted, finds little to do. The disk
/// is kept busy: a step begins before the one before it is waited for.
pub(crate) fn write_back_in_steps(file: BorrowedFd<'_>) -> Result<()> {
    if !interrupt::is_served() {
        return Ok(());
    }
    let size = stat_fd(file)?.stx_size;
    let mut offset = 0;
    while size > STEP && offset < size {
        let next = offset + STEP;
        let written = write_range(file, next, STEP, Writeback::Start)
            .and_then(|()| write_range(file, offset, STEP, Writeback::Finish));
        match written {
            // Where it cannot be done, fsync(2) does it all.
            Err(Errno::INVAL | Errno::NOSYS | Errno::SPIPE | Errno::OPNOTSUPP) => return Ok(()),
            other => other?,
        }
        interrupt::check()?;
        offset = next;
    }
    Ok(())
}

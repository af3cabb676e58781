//! Writing a part of a file back to its disk.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::Result;
use crate::process::last_error;

/// What to do with a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writeback {
    /// Begin to write it.
    Start,
    /// Write it and wait for that.
    Finish,
}

/// Writes back what is in memory of a part of a file (sync_file_range(2)). The file is not durable by that alone:
/// where the data is may still be in memory.
///
/// # Errors
/// `IO`, `NOSPC` and `DQUOT`, which are not told again; `NOSYS`, `INVAL` and `SPIPE` where it cannot be done.
pub fn write_range(fd: BorrowedFd<'_>, offset: u64, length: u64, how: Writeback) -> Result<()> {
    let number = |value| i64::try_from(value).map_err(|_| Errno::INVAL);
    let flags = match how {
        Writeback::Start => libc::SYNC_FILE_RANGE_WRITE,
        Writeback::Finish => {
            libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER
        }
    };
    // SAFETY: the call takes a descriptor and numbers.
    let done =
        unsafe { libc::sync_file_range(fd.as_raw_fd(), number(offset)?, number(length)?, flags) };
    match done {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_part_of_a_file_is_written() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 8192]).unwrap();
        for how in [Writeback::Start, Writeback::Finish] {
            assert_eq!(write_range(file.as_fd(), 4096, 4096, how), Ok(()));
        }
        let beyond = write_range(file.as_fd(), u64::MAX, 1, Writeback::Start);
        assert_eq!(beyond, Err(Errno::INVAL));
    }
}

//! The data of copies: how it gets from one file to another.
//!
//! Blocks are shared where the file system can (ioctl_ficlone(2)), else the kernel copies them
//! (copy_file_range(2)), else they pass through memory. Holes stay holes.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, Statx};

use crate::disk::interrupt::{self, STEP};
use crate::error::{Errno, Result};
use crate::types::Extent;

/// How much is read and written at a time where the kernel cannot copy by itself, in bytes.
const CHUNK: usize = 1 << 20;

/// What the data of a copy is, before anything is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// There is none.
    Nothing,
    /// All the blocks of its source.
    Shared,
    /// Bytes that may be in memory alone.
    Bytes,
}

/// Copies the data of a regular file that shows `whole` bytes from a file with this stat: shares blocks where
/// the file system can, and leaves holes where there are some.
pub(crate) fn copy_data(
    (from, disk): (BorrowedFd<'_>, &Statx),
    whole: u64,
    to: BorrowedFd<'_>,
    extent: Extent,
) -> Result<Copied> {
    let size = match extent {
        Extent::None => 0,
        Extent::Whole => whole,
        Extent::Before(end) => whole.min(end),
    };
    let has_holes = disk.stx_blocks.saturating_mul(512) < disk.stx_size;
    let shared = size > 0 && rustix::fs::ioctl_ficlone(to, from).is_ok();
    match size {
        0 => {}
        _ if shared => {}
        _ if has_holes => copy_segments(from, to, size)?,
        _ => copy_segment(from, to, 0, size)?,
    }
    let is_whole = disk.stx_size == size;
    if !(shared && is_whole) {
        // Ends a trailing hole, or what is to be shorter.
        rustix::fs::ftruncate(to, size)?;
    }
    Ok(match size {
        0 => Copied::Nothing,
        _ if shared && is_whole => Copied::Shared,
        _ => Copied::Bytes,
    })
}

/// Copies the parts of a file that hold data (lseek(2), `SEEK_DATA`), up to `size`.
fn copy_segments(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
    let mut offset = 0;
    while offset < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(offset)) {
            Ok(start) => start.min(size),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => return Ok(()),
            // A file system that does not tell holes.
            Err(Errno::INVAL) => return copy_segment(from, to, offset, size),
            Err(error) => return Err(error),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size);
        copy_segment(from, to, start, end)?;
        offset = end;
    }
    Ok(())
}

fn copy_segment(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        interrupt::check()?;
        let length = usize::try_from((end - read_at).min(STEP)).unwrap_or(usize::MAX);
        // Both offsets are advanced by the call.
        let (input, output) = (Some(&mut read_at), Some(&mut write_at));
        match rustix::fs::copy_file_range(from, input, to, output, length) {
            // The end of the file, or a file system that cannot do it and does not say so.
            Ok(0)
            | Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::TXTBSY) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn copy_by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<()> {
    let length = usize::try_from(end - start).unwrap_or(CHUNK).min(CHUNK);
    let mut buffer = vec![0; length];
    let mut offset = start;
    while offset < end {
        interrupt::check()?;
        let most = usize::try_from(end - offset).unwrap_or(CHUNK).min(length);
        let read = rustix::io::pread(from, &mut buffer[..most], offset)?;
        if read == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < read {
            let at = offset + written as u64;
            written += rustix::io::pwrite(to, &buffer[written..read], at)?;
        }
        offset += read as u64;
    }
    Ok(())
}

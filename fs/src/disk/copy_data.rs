//! The data of copies: how it gets from one file to another, and when it is durable.
//!
//! Blocks are shared where the file system can (ioctl_ficlone(2)), else the kernel copies them
//! (copy_file_range(2)), else they pass through memory. Holes stay holes.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use plyfs_sys::writeback::{Writeback, write_range};
use rustix::fs::{SeekFrom, Statx};

use crate::Overlay;
use crate::disk::calls::{device_of, read_in_memory, stat_fd};
use crate::disk::interrupt;
use crate::error::{Errno, Result};
use crate::inode::node::Node;
use crate::ops::copy_up::Extent;
use crate::overlay::open::Upper;

/// How much is read and written at a time where the kernel cannot copy by itself, in bytes.
const CHUNK: usize = 1 << 20;

/// How much the kernel is to copy or write back at a time, after which is looked whether the caller still waits,
/// in bytes.
const STEP: u64 = 8 << 20;

/// The largest file whose data is copied by the thread that serves lookups meanwhile, in bytes.
const SMALL: u64 = 64 << 10;

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

impl Upper {
    /// Makes the data of a copy durable, if a power loss could show the copy without it otherwise.
    ///
    /// Where clones are ordered, whatever is done to the copy afterwards is durable only together with
    /// its data.
    pub(crate) fn sync_copy(&self, copy: BorrowedFd<'_>, copied: Copied) -> Result<()> {
        match copied {
            Copied::Nothing => Ok(()),
            Copied::Shared if self.orders_clones => {
                self.shares_at_once.store(true, Ordering::Relaxed);
                Ok(())
            }
            // Every system call counts for small files.
            Copied::Shared | Copied::Bytes if self.in_memory => Ok(()),
            Copied::Shared | Copied::Bytes => {
                // Nor need it be so for the next.
                self.shares_at_once.store(false, Ordering::Relaxed);
                write_back_in_steps(copy)?;
                rustix::fs::fsync(copy)
            }
        }
    }
}

impl Overlay {
    /// Whether copying up so much of this regular file of a lower layer is not expected to wait for a disk,
    /// and takes no longer than giving the work to another thread.
    pub(crate) fn copies_at_once(&self, node: &Node, extent: Extent) -> bool {
        let Some(upper) = &self.upper else {
            // It is refused.
            return true;
        };
        let needs_no_disk = self.volatile || upper.in_memory;
        if node.in_upper() || !needs_no_disk && !upper.shares_at_once.load(Ordering::Relaxed) {
            return false;
        }
        let is_at_hand = || -> Result<bool> {
            let file = self.open_for_reading(node)?;
            let stat = stat_fd(file.as_fd())?;
            let is_near = upper.device == device_of(&stat);
            let shares = match extent {
                Extent::Before(end) => end == 0 || end >= stat.stx_size,
                Extent::Whole | Extent::None => true,
            };
            Ok(stat.stx_size <= SMALL
                // Part of a file is not shared, nor anything with another file system.
                && (needs_no_disk || is_near && shares)
                && (upper.in_memory && is_near || is_in_memory(file.as_fd(), stat.stx_size)))
        };
        is_at_hand().unwrap_or(false)
    }
}

/// Whether a file of this size can be read without waiting for a disk: its last byte can, at least.
fn is_in_memory(file: BorrowedFd<'_>, size: u64) -> bool {
    let last = size.checked_sub(1);
    last.is_none_or(|last| read_in_memory(file, last, &mut [0]) == Ok(1))
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

/// Writes the data of a large file back, so that fsync(2), which cannot be interrupted, finds little to do. The disk
/// is kept busy: a step begins before the one before it is waited for.
fn write_back_in_steps(file: BorrowedFd<'_>) -> Result<()> {
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

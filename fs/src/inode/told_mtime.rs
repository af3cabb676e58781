//! Writes that the kernel gathers, and the times that it keeps meanwhile.
//!
//! With the writeback cache the kernel answers write(2) by itself, keeps the file's times, and sends
//! data and times later, in an order of its own. What is here makes the times on disk those that programs
//! were shown. Without that cache only stores into shared mappings come late, the kernel keeps no times, and
//! no time is remembered ([`Config::gathers`](crate::Config::gathers)).

use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};

use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::Overlay;
use crate::disk::calls::{self, stat_fd};
use crate::disk::fd_cache::Handle;
use crate::error::{Errno, Result};
use crate::inode::node::Node;
use crate::ops::data::write_at;
use crate::types::{Attr, SetAttr, SetTime, Timestamp};

/// How much of an append-only file is compared at once, in bytes.
const COMPARED: usize = 64 << 10;
/// The capabilities of an executable.
const CAPABILITY: &std::ffi::CStr = c"security.capability";

/// How long after a time was told data may come that was written then, in milliseconds.
const LATE: u32 = 5_000;
/// How old a time of last change may be that a lookup told right before a program wrote, in seconds. The
/// kernel's clock has ticks of milliseconds, and looking up and writing take their time.
const RECENT: i64 = 5;

/// The time of last change that the kernel was given when a file was made or changed.
///
/// A kernel that gathers writes keeps this time itself: the file was changed when a program wrote, not
/// when the data arrives. It sends the time before the data or after it, or not at all if its clock
/// has not moved on from what it was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldMtime {
    secs: i64,
    /// One more than the nanoseconds: nodes are many, and this leaves room for "none".
    nanos: NonZeroU32,
    /// When it was told, in milliseconds on a clock that wraps.
    when: u32,
}

impl ToldMtime {
    fn now(mtime: Timestamp) -> Option<Self> {
        Some(Self {
            secs: mtime.secs,
            nanos: NonZeroU32::new(mtime.nanos.wrapping_add(1))?,
            when: milliseconds(),
        })
    }

    fn mtime(&self) -> Timestamp {
        Timestamp {
            secs: self.secs,
            nanos: self.nanos.get() - 1,
        }
    }

    /// Whether it was told so long ago that data which comes now is another change's.
    fn is_old(&self) -> bool {
        milliseconds().wrapping_sub(self.when) > LATE
    }
}

/// Of a clock that only runs forward.
fn milliseconds() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec
        .wrapping_mul(1000)
        .wrapping_add(now.tv_nsec / 1_000_000)) as u32
}

impl Overlay {
    /// Remembers the time of last change that the answer to a change tells.
    pub(crate) fn told_mtime(&self, node: &Node, mtime: Timestamp) {
        if self.gathers {
            *node.times.lock() = ToldMtime::now(mtime);
        }
    }

    /// Remembers the time of last change that a file has when it is opened for its first write, unless a
    /// change told another: a lookup told it, and the kernel's clock need not have moved on since.
    pub(crate) fn may_have_told_mtime(&self, node: &Node, file: &Handle) -> Result<()> {
        if !self.gathers || !file.writable || node.times.lock().is_some() {
            return Ok(());
        }
        let mtime: Timestamp = stat_fd(file.fd.as_fd())?.stx_mtime.into();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let age = now.tv_sec.saturating_sub(mtime.secs);
        if (0..=RECENT).contains(&age) {
            let mut times = node.times.lock();
            *times = times.or_else(|| ToldMtime::now(mtime));
        }
        Ok(())
    }

    /// The attributes of a node, if all that is to be set is the time of last change, to what it is.
    ///
    /// So a kernel that gathers writes asks whenever a name of a file changes. Nothing is to be copied
    /// up for that, least of all a file that was just removed.
    pub(crate) fn has_already(&self, node: &Node, set: &SetAttr) -> Result<Option<Attr>> {
        let only_mtime = SetAttr {
            mtime: set.mtime,
            kept_by_kernel: set.kept_by_kernel,
            ..SetAttr::default()
        };
        let mtime = set.mtime.filter(|_| self.gathers && *set == only_mtime);
        let Some(SetTime::At(mtime)) = mtime else {
            return Ok(None);
        };
        let told = node.times.lock().map(|told| told.mtime());
        if told.is_some_and(|told| told != mtime) && node.in_upper() {
            // What was told is what it is.
            return Ok(None);
        }
        let attr = self.attr(node)?;
        Ok((attr.mtime == mtime).then(|| {
            self.told_mtime(node, mtime);
            attr
        }))
    }
}

/// Writes what the kernel has gathered, and leaves the time of the last change as the kernel was just
/// told it.
pub(crate) fn write_gathered(
    node: &Node,
    file: BorrowedFd<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
    let mut times = node.times.lock();
    let capability = capability_of(node, file);
    // A write that fails takes them too, and may be made again.
    let written = write_at(file, offset, data, true);
    if let Some(capability) = capability {
        let at = At::Fd(file);
        if let Err(errno) = xattr::set(at, CAPABILITY, &capability, XattrFlags::empty()) {
            log::warn!("a file lost its capabilities: {errno}");
        }
    }
    if let Some(told) = *times {
        if told.is_old() {
            *times = None;
        } else if let Err(errno) = calls::set_mtime(file, told.mtime()) {
            // The data is there, and that counts.
            log::debug!("a file keeps the time its data came: {errno}");
        }
    }
    written
}

/// As [`write_gathered`], to an append-only file: only what comes behind its end is written.
///
/// # Errors
/// `PERM` if the data would change what the file has. What comes behind that is kept also then, since a program has
/// written it with success: a mapping changed the page that it is in.
pub(crate) fn append_gathered(
    node: &Node,
    file: BorrowedFd<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
    let there = standing(file, offset, data)?;
    let new = data.get(there.length..).unwrap_or_default();
    let written = write_gathered(node, file, offset + there.length as u64, new)?;
    match there.is_same {
        true => Ok(there.length + written),
        false => Err(Errno::PERM),
    }
}

/// What an append-only file has already of data that is written to it.
struct Standing {
    /// How much of the data lies before the end of the file, in bytes.
    length: usize,
    /// Whether the file has the same there.
    is_same: bool,
}

/// Compares data that the kernel has gathered, or that a mapping stored, with an append-only file. The kernel sends
/// whole pages, which begin with what was there.
///
/// # Errors
/// Those of pread(2).
fn standing(file: BorrowedFd<'_>, offset: u64, data: &[u8]) -> Result<Standing> {
    let mut there = vec![0; data.len().min(COMPARED)];
    let mut standing = Standing {
        length: 0,
        is_same: true,
    };
    while let Some(rest) = data.get(standing.length..).filter(|rest| !rest.is_empty()) {
        let length = rest.len().min(there.len());
        let Some(buffer) = there.get_mut(..length) else {
            break;
        };
        let read = match rustix::io::pread(file, buffer, offset + standing.length as u64) {
            Ok(0) => break,
            Err(Errno::INTR) => continue,
            read => read?,
        };
        standing.is_same &= there.get(..read) == rest.get(..read);
        standing.length += read;
    }
    Ok(standing)
}

/// The capabilities that a file has, which the file system below takes at any write: they may have been
/// set after the program wrote what comes now.
fn capability_of(node: &Node, file: BorrowedFd<'_>) -> Option<Vec<u8>> {
    if node.capability.get() == Some(false) {
        return None;
    }
    let found = xattr::get_long(At::Fd(file), CAPABILITY);
    if found == Err(Errno::NODATA) {
        node.capability.set(false);
    }
    found.ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn bytes_that_are_there_are_not_written_again() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; COMPARED + 10]).unwrap();
        let fd = file.as_fd();
        let there = |offset, data: &[u8]| {
            let standing = standing(fd, offset, data).unwrap();
            (standing.length, standing.is_same)
        };
        assert_eq!(there(0, &vec![b'x'; COMPARED + 20]), (COMPARED + 10, true));
        assert_eq!(there(COMPARED as u64 + 10, b"new"), (0, true));
        assert_eq!(there(3, b"xxx"), (3, true));
        assert_eq!(there(0, b""), (0, true));
        assert_eq!(there(0, b"xy"), (2, false));
        let mut changed = vec![b'x'; COMPARED + 20];
        changed[COMPARED + 9] = b'y';
        assert_eq!(there(0, &changed), (COMPARED + 10, false));
    }
}

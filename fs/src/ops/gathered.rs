//! Writes that the kernel gathers and sends later.
//!
//! The kernel keeps the times of a file meanwhile ([`ToldMtime`]). Without the
//! writeback cache only stores into shared mappings come late.

use std::os::fd::BorrowedFd;

use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::disk::attribute_names::CAPABILITY;
use crate::disk::calls::{self, stat_fd};
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::inode::told_mtime::ToldMtime;

/// Writes what the kernel has gathered, and leaves the time of the last change as the kernel was just
/// told it.
pub(super) fn write_gathered(
    node: &Node,
    file: BorrowedFd<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
    write_locked(node, &mut node.times.lock(), file, offset, data)
}

fn write_locked(
    node: &Node,
    times: &mut Option<ToldMtime>,
    file: BorrowedFd<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
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
/// written it with success: a mapping changed the page that it is in. `IO` if data before it is missing: a
/// descriptor that can only append would write it to another place, and what is missing could not be added later.
pub(super) fn append_gathered(
    node: &Node,
    file: BorrowedFd<'_>,
    offset: u64,
    data: &[u8],
) -> Result<usize> {
    let mut times = node.times.lock();
    let there = standing(file, offset, data)?;
    let new = data.get(there.length..).unwrap_or_default();
    let start = offset + there.length as u64;
    if !new.is_empty() && start != stat_fd(file)?.stx_size {
        return Err(decided(Errno::IO));
    }
    let written = write_locked(node, &mut times, file, start, new)?;
    if there.is_same {
        Ok(there.length + written)
    } else {
        Err(Errno::PERM)
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

/// How much of an append-only file is compared at once, in bytes.
const COMPARED: usize = 64 << 10;

/// Writes as much as possible. An error counts if nothing was written before, or if it must be
/// `whole`.
pub(super) fn write_at(
    file: BorrowedFd<'_>,
    offset: u64,
    data: &[u8],
    whole: bool,
) -> Result<usize> {
    let mut written = 0;
    while written < data.len() {
        match rustix::io::pwrite(file, &data[written..], offset + written as u64) {
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(error) if whole || written == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

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

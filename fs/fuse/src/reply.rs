//! Answers to requests: what the overlay returned, in the words of the protocol.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{
    FileAttr, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyWrite, ReplyXattr,
};

use super::convert::{absent, attr, errno};
use plyfs_fs::ROOT_ID;
use plyfs_fs::Result;
use plyfs_fs::attr::Attr;
use plyfs_fs::{DirEntry, Entry};

/// How long the attributes hold that a lookup returns. The library answers a lookup with one number for
/// the node and for `st_ino`; where the two differ, the kernel has to ask for the attributes once. So
/// it is with names of a lower file that only look like one until a copy-up makes them separate files.
pub(crate) fn attr_timeout(attr: &Attr, id: u64, timeout: Duration) -> Duration {
    match attr.ino == id || id == ROOT_ID {
        true => timeout,
        false => Duration::ZERO,
    }
}

pub(crate) fn answer_entry(reply: ReplyEntry, timeout: Duration, result: Result<Entry>) {
    match result {
        Ok(entry) => {
            let (attr, generation) = (attr(&entry.attr, entry.id), Generation(0));
            let attr_timeout = attr_timeout(&entry.attr, entry.id, timeout);
            reply.entry_with_ttls(&attr_timeout, &timeout, &attr, generation);
        }
        Err(error) => reply.error(errno(error)),
    }
}

/// Of a file that was made and is open.
pub(crate) fn answer_created(reply: ReplyCreate, timeout: Duration, result: Result<Entry>) {
    match result {
        Ok(entry) => {
            let (attr, generation) = (attr(&entry.attr, entry.id), Generation(0));
            let flags = FopenFlags::FOPEN_KEEP_CACHE;
            // The library has one time for the name and for the attributes.
            let timeout = attr_timeout(&entry.attr, entry.id, timeout);
            reply.created(&timeout, &attr, generation, FileHandle(0), flags);
        }
        Err(error) => reply.error(errno(error)),
    }
}

/// Answers with attributes alone, which have a `st_ino` of their own. The overlay announces every change
/// of it.
pub(crate) fn answer_attr(reply: ReplyAttr, timeout: Duration, result: Result<Attr>) {
    match result {
        Ok(now) => reply.attr(&timeout, &attr(&now, now.ino)),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn answer(reply: ReplyEmpty, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn answer_written(reply: ReplyWrite, result: Result<usize>) {
    match result {
        // No more is written than was asked for, and that came as 32 bits.
        Ok(size) => reply.written(u32::try_from(size).unwrap_or(u32::MAX)),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn answer_ioctl(reply: ReplyIoctl, result: Result<Vec<u8>>) {
    match result {
        Ok(answer) => reply.ioctl(0, &answer),
        Err(error) => reply.error(errno(error)),
    }
}

pub(crate) fn answer_xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>>) {
    match result {
        Err(error) => reply.error(errno(error)),
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}

/// Whether an entry is `.` or `..`.
pub(crate) fn is_dots(entry: &DirEntry) -> bool {
    matches!(entry.name.as_bytes(), b"." | b"..")
}

/// What a listing says of an entry, and how long that holds.
pub(crate) fn listed_entry(
    entry: &DirEntry,
    found: Option<&Entry>,
    timeout: Duration,
) -> (FileAttr, Duration) {
    let Some(found) = found else {
        // The kernel makes a node of everything. It asks for this one before it uses it, and gets the error then.
        let attr = FileAttr {
            ino: INodeNo(entry.ino),
            ..absent()
        };
        return (attr, Duration::ZERO);
    };
    // The kernel makes no node of `.` and `..`, and shows the number as it is.
    let number = if is_dots(entry) { entry.ino } else { found.id };
    let timeout = attr_timeout(&found.attr, found.id, timeout);
    (attr(&found.attr, number), timeout)
}

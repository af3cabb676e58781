//! The plain data that operations take and return: attributes, callers, entries.
//!
//! Everything above may use these types; they know nothing of layers, nodes or the overlay.

use std::ffi::OsStr;
use std::sync::Arc;

use plyfs_format::override_stat::{Kind as RecordKind, OverrideStat};
use rustix::fs::{Statx, StatxTimestamp};

/// Set-user-id (inode(7)).
pub(crate) const S_ISUID: u32 = 0o4000;
/// Set-group-id; new files of a directory that has it get its group.
pub(crate) const S_ISGID: u32 = 0o2000;
/// The group may execute the file.
pub(crate) const S_IXGRP: u32 = 0o010;
/// All bits of a mode but those of the type.
pub(crate) const PERMISSIONS: u32 = 0o7777;

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    Block,
    /// A character device.
    Char,
}

impl FileKind {
    /// The kind that the type bits of an `st_mode` stand for; `None` for bits that stand for none.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            0o060_000 => Self::Block,
            0o020_000 => Self::Char,
            _ => return None,
        })
    }

    /// Whether this is a directory.
    pub fn is_dir(self) -> bool {
        self == Self::Directory
    }
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The device of that driver.
    pub minor: u32,
}

/// A point in time since 1970, which may lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub secs: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanos: u32,
}

impl From<StatxTimestamp> for Timestamp {
    fn from(time: StatxTimestamp) -> Self {
        Self {
            secs: time.tv_sec,
            nanos: time.tv_nsec,
        }
    }
}

/// What stat(2) of a file on the mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// `st_ino`.
    pub ino: u64,
    /// Type.
    pub kind: FileKind,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Number of hard links; 1 for a merged directory, as in the kernel's overlay.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that a device node stands for.
    pub rdev: Device,
    /// Size in bytes.
    pub size: u64,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// Preferred size of reads and writes, in bytes.
    pub blksize: u32,
    /// Last read.
    pub atime: Timestamp,
    /// Last write.
    pub mtime: Timestamp,
    /// Last change of data or attributes.
    pub ctime: Timestamp,
}

impl Attr {
    /// The attributes of an object in a layer. `None` if its type is unknown.
    ///
    /// `ino` is the number of the object in its own file system; the overlay puts its own there.
    pub(crate) fn from_statx(stat: &Statx) -> Option<Self> {
        let mode = u32::from(stat.stx_mode);
        Some(Self {
            ino: stat.stx_ino,
            kind: FileKind::from_mode(mode)?,
            mode: mode & PERMISSIONS,
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: Device {
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            blksize: stat.stx_blksize,
            atime: stat.stx_atime.into(),
            mtime: stat.stx_mtime.into(),
            ctime: stat.stx_ctime.into(),
        })
    }

    /// Puts what a record says in place of what is on disk.
    pub(crate) fn apply(&mut self, record: &OverrideStat) {
        self.uid = record.uid;
        self.gid = record.gid;
        self.mode = record.mode;
        let Some(kind) = record.kind else { return };
        let (kind, rdev) = match kind {
            RecordKind::File => (FileKind::Regular, Device::default()),
            RecordKind::Dir => (FileKind::Directory, Device::default()),
            RecordKind::Symlink => (FileKind::Symlink, Device::default()),
            RecordKind::Fifo => (FileKind::Fifo, Device::default()),
            RecordKind::Socket => (FileKind::Socket, Device::default()),
            RecordKind::Block(major, minor) => (FileKind::Block, Device { major, minor }),
            RecordKind::Char(major, minor) => (FileKind::Char, Device { major, minor }),
        };
        // A record cannot make a directory of a file, nor a file of a directory: the tree below
        // would have no place.
        if kind.is_dir() == self.kind.is_dir() {
            self.kind = kind;
            self.rdev = rdev;
        }
    }
}

/// A new time for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The present.
    Now,
    /// This time.
    At(Timestamp),
}

/// Why set-id bits are to go, though nothing is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropSetId {
    /// As a chown(2) does that leaves owner and group as they are: only the owner may.
    Chown,
    /// As a chown(2) or, of a regular file, a write(2) does; the kernel did not say which of them. A write says so
    /// again.
    Unsaid,
    /// As a chown(2) does of anything but a regular file, of which it is a write(2).
    UnlessRegular,
}

/// Which attributes to change, and to what (the `ATTR_*` of the kernel's `notify_change`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last write.
    pub mtime: Option<SetTime>,
    /// Takes the set-id bits from a file.
    pub drop_set_id: Option<DropSetId>,
    /// The times are of writes that were made before: a kernel that gathers them sends the times later.
    pub kept_by_kernel: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Process id, 0 if it has none in the pid namespace of the mount.
    pub pid: u32,
    /// File creation mask, where the operation has one.
    pub umask: u32,
}

impl Caller {
    /// The caller, if without privileges.
    pub(crate) fn unprivileged(&self) -> Option<&Self> {
        (self.uid != 0).then_some(self)
    }
}

/// How much of a file's data a copy-up is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// None, if the overlay leaves data below; else all.
    None,
    /// All of it.
    Whole,
    /// What lies before this offset, because the file is about to be truncated there.
    Before(u64),
}

/// What is to be changed of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Anything but its data.
    Attributes,
    /// Its data.
    Data,
    /// Its size, to so many bytes.
    Size(u64),
}

/// A name in a directory. Shared, since a listing and a node hold the same one.
pub(crate) type Name = Arc<OsStr>;

/// What a lookup found. It counts as one lookup of the node, to be taken back with
/// [`Overlay::forget`](crate::Overlay::forget).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub id: u64,
    /// Its attributes.
    pub attr: Attr,
}

/// One entry as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The number stat(2) shows for it.
    pub ino: u64,
    /// Where to continue after it.
    pub cookie: u64,
    /// Its type.
    pub kind: FileKind,
    /// Its name.
    pub name: Arc<OsStr>,
}

/// What a reader says to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// It took the entry and has space for more.
    More,
    /// It had no space for the entry.
    Full,
}

/// Of which entries a reader wants more than what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Of all.
    All,
    /// Of directories. The entries end before the first that is none.
    Directories,
}

/// What an lseek(2) that a file system must answer looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next data at or after the offset (`SEEK_DATA`).
    Data,
    /// The next hole at or after the offset (`SEEK_HOLE`).
    Hole,
}

/// What comes with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteMode {
    /// The writer, if without privileges: set-uid and set-gid go.
    pub unprivileged: Option<Caller>,
    /// The program that wrote has gone on already: the kernel has gathered the data and sends it
    /// now. What is not written whole is lost, so that it must be an error.
    pub gathered: bool,
    /// The descriptor appends (`O_APPEND`).
    pub appends: bool,
}

/// How much data is moved in no more time than another thread needs to be woken, in bytes.
pub const LITTLE: usize = 32 << 10;

/// How long a rename may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayBlock {
    /// A few system calls. If data has to be copied up first, nothing is done.
    No,
    /// As long as copying the file takes.
    Yes,
}

/// Node id of the root, which the FUSE protocol fixes.
pub const ROOT_ID: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn regular() -> Attr {
        Attr {
            ino: 7,
            kind: FileKind::Regular,
            mode: 0o600,
            nlink: 1,
            uid: 1000,
            gid: 1000,
            rdev: Device::default(),
            size: 3,
            blocks: 8,
            blksize: 4096,
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
        }
    }

    #[test]
    fn a_record_replaces_owner_mode_and_type() {
        let mut attr = regular();
        attr.apply(&OverrideStat::parse(b"0:5:620:char-5-1").unwrap());
        assert_eq!((attr.uid, attr.gid, attr.mode), (0, 5, 0o620));
        assert_eq!(attr.kind, FileKind::Char);
        assert_eq!(attr.rdev, Device { major: 5, minor: 1 });
    }

    #[test]
    fn a_record_makes_no_directory_of_a_file() {
        let mut attr = regular();
        attr.apply(&OverrideStat::parse(b"0:0:755:dir").unwrap());
        assert_eq!(attr.kind, FileKind::Regular);
        let mut dir = Attr {
            kind: FileKind::Directory,
            ..regular()
        };
        dir.apply(&OverrideStat::parse(b"0:0:755:symlink").unwrap());
        assert_eq!(dir.kind, FileKind::Directory);
    }

    #[test]
    fn every_type_bit_has_its_kind() {
        assert_eq!(FileKind::from_mode(0o100_644), Some(FileKind::Regular));
        assert_eq!(FileKind::from_mode(0o040_755), Some(FileKind::Directory));
        assert_eq!(FileKind::from_mode(0o020_000), Some(FileKind::Char));
        assert_eq!(FileKind::from_mode(0o644), None);
    }
}

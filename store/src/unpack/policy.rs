//! Who owns what, and where that is written down.

use std::os::fd::BorrowedFd;

use plyfs_format::names::Namespace;
use plyfs_format::override_stat::{self, Kind, OverrideStat};
use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::fault::Result;
use crate::error::EntryFault;
use crate::tar::Entry;
use crate::values::{Ownership, Timestamp};

/// Set-uid, set-gid and sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// How a layer is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) ownership: Ownership,
    /// Where overlay records go.
    pub(crate) namespace: Namespace,
    /// Whom new files belong to.
    pub(crate) creator: (u32, u32),
}

/// Whether this process may write `trusted.*` attributes below the directory, which is empty and
/// will be removed. User namespaces do not give that right, not even to their root.
pub(crate) fn can_set_trusted(dir: BorrowedFd<'_>) -> bool {
    let name = Namespace::Trusted.opaque();
    if rustix::fs::fsetxattr(dir, name, b"n", XattrFlags::empty()).is_err() {
        return false;
    }
    rustix::fs::fremovexattr(dir, name).is_ok()
}

/// Owner, mode and time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits with set-uid, set-gid and sticky.
    pub(super) mode: u32,
    pub(super) mtime: Timestamp,
}

impl Meta {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            uid: entry.uid,
            gid: entry.gid,
            mode: entry.mode,
            mtime: entry.mtime,
        }
    }

    /// Of a directory that has no entry of its own: root's, and of no certain time, so that a layer
    /// unpacked twice is the same.
    pub(super) fn implied() -> Self {
        Self {
            uid: 0,
            gid: 0,
            mode: 0o755,
            mtime: Timestamp::default(),
        }
    }

    /// Access and modification time: that of the entry for both.
    pub(super) fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime.seconds,
            tv_nsec: self.mtime.nanoseconds.into(),
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

impl Policy {
    /// The mode that a file with this one has on disk. Its owner must always be able to read and
    /// write it where records are kept on it.
    pub(super) fn file_mode(&self, mode: u32) -> u32 {
        match self.ownership {
            Ownership::Real => mode,
            Ownership::Override => (mode & 0o777) | 0o600,
        }
    }

    /// The mode that a directory with this one has on disk.
    pub(super) fn dir_mode(&self, mode: u32) -> u32 {
        match self.ownership {
            Ownership::Real => mode,
            Ownership::Override => (mode & 0o777) | 0o700,
        }
    }

    /// The record for a file that has `disk_mode` on disk; `None` if it needs none, since a file
    /// without one is taken as it is and as root's.
    pub(super) fn record(
        &self,
        meta: &Meta,
        disk_mode: u32,
        kind: Option<Kind>,
    ) -> Option<OverrideStat> {
        let plain = self.ownership == Ownership::Real
            || (meta.uid == 0 && meta.gid == 0 && meta.mode == disk_mode);
        if kind.is_none() && plain {
            return None;
        }
        Some(OverrideStat {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            kind,
        })
    }

    /// Whether the owner on disk has to change.
    pub(super) fn must_chown(&self, meta: &Meta) -> bool {
        self.ownership == Ownership::Real && self.creator != (meta.uid, meta.gid)
    }

    /// Gives a file its owner.
    pub(super) fn chown(&self, fd: BorrowedFd<'_>, meta: &Meta) -> Result<()> {
        if !self.must_chown(meta) {
            return Ok(());
        }
        let (uid, gid) = ids(meta);
        rustix::fs::fchown(fd, uid, gid).map_err(chown_fault(meta))
    }
}

/// Owner and group as system calls take them.
pub(super) fn ids(meta: &Meta) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
}

/// What a failed chown(2) means: EINVAL is how a user namespace says that it has no such id.
pub(super) fn chown_fault(meta: &Meta) -> impl Fn(Errno) -> EntryFault {
    let Meta { uid, gid, .. } = *meta;
    move |errno| match errno {
        Errno::INVAL => EntryFault::UnmappedOwner { uid, gid },
        errno => EntryFault::System {
            action: "change its owner",
            errno,
        },
    }
}

/// Writes an `override_stat` record.
pub(super) fn set_record(fd: BorrowedFd<'_>, record: &OverrideStat) -> Result<()> {
    let value = record.format();
    let set = rustix::fs::fsetxattr(
        fd,
        override_stat::XATTR,
        value.as_bytes(),
        XattrFlags::empty(),
    );
    set.map_err(|errno| EntryFault::Xattr {
        name: override_stat::XATTR.into(),
        errno,
    })
}

/// The mode a file is made with: no set-id bits, which a change of owner would clear again, and open
/// to its owner for as long as attributes are to be set.
pub(super) fn first_mode(disk_mode: u32, attributes: bool) -> u32 {
    let owner = if attributes { 0o600 } else { 0 };
    disk_mode & !SPECIAL_BITS | owner
}

/// Sets the mode if the file does not have it already.
pub(super) fn set_mode(fd: BorrowedFd<'_>, current: u32, mode: u32) -> Result<()> {
    if current == mode {
        return Ok(());
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(EntryFault::system("change its mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(ownership: Ownership) -> Policy {
        Policy {
            ownership,
            namespace: Namespace::User,
            creator: (0, 0),
        }
    }

    fn meta(uid: u32, gid: u32, mode: u32) -> Meta {
        Meta {
            uid,
            gid,
            mode,
            mtime: Timestamp::default(),
        }
    }

    #[test]
    fn a_record_is_written_where_the_disk_says_otherwise() {
        let policy = policy(Ownership::Override);
        let needs = |uid, gid, mode| {
            let disk = policy.file_mode(mode);
            policy.record(&meta(uid, gid, mode), disk, None).is_some()
        };
        assert!(!needs(0, 0, 0o644));
        assert!(!needs(0, 0, 0o755));
        assert!(needs(0, 0, 0o444), "the owner must be able to write");
        assert!(needs(0, 0, 0o4755));
        assert!(needs(1, 0, 0o644));
        assert!(needs(0, 1, 0o644));
        assert_eq!(policy.file_mode(0o4555), 0o755);
        assert_eq!(policy.file_mode(0), 0o600);
        assert_eq!(policy.dir_mode(0o1777), 0o777);
        assert_eq!(policy.dir_mode(0o2050), 0o750);
    }

    #[test]
    fn real_ownership_needs_no_records() {
        let policy = policy(Ownership::Real);
        assert!(policy.record(&meta(5, 5, 0o4755), 0o4755, None).is_none());
        assert!(
            policy
                .record(&meta(0, 0, 0o666), 0o666, Some(Kind::Char(1, 3)))
                .is_some()
        );
        assert!(policy.must_chown(&meta(5, 5, 0)));
        assert!(!policy.must_chown(&meta(0, 0, 0)));
        assert_eq!(policy.file_mode(0o4111), 0o4111);
    }
}

//! Making objects for the upper layer, in the form that its ownership needs.
//!
//! Where the process may change owners, an object is what it shows. Where it may not, the upper
//! layer uses `override_stat` records: the object on disk belongs to the process, can always be read
//! and written by it, and the record says what it stands for. What cannot carry a record, because
//! `user.*` attributes go on regular files and directories only, is kept as a regular file.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use plyfs_format::override_stat::{Kind as RecordKind, OverrideStat};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, makedev};

use crate::config::override_stat_mode::OverrideStatMode;
use crate::error::{Errno, Result, decided};
use crate::types::{Device, FileKind, PERMISSIONS, S_ISGID, S_ISUID};

/// What an object is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewObject<'t> {
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: Device,
    /// Target of a symbolic link.
    pub(crate) target: Option<&'t OsStr>,
}

impl NewObject<'_> {
    /// The mode on disk, `mode` being what the object shows.
    pub(crate) fn disk_mode(kind: FileKind, mode: u32, records: OverrideStatMode) -> u32 {
        match kind {
            _ if !records.rule(kind) => mode,
            FileKind::Directory => (mode & !(S_ISUID | S_ISGID)) | 0o700,
            _ => (mode & !(S_ISUID | S_ISGID)) | 0o600,
        }
    }

    /// Makes the object under a name that does not exist. A regular file is returned opened for
    /// reading and writing.
    ///
    /// The mask of the thread applies, and so does a default ACL of the directory.
    ///
    /// # Errors
    /// `EXIST`, and those of open(2), mkdir(2), symlink(2) and mknod(2).
    pub(crate) fn make(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        records: OverrideStatMode,
    ) -> Result<Option<OwnedFd>> {
        let mode = Mode::from_raw_mode(Self::disk_mode(self.kind, self.mode, records));
        let node = |kind, device: Device| {
            let device = makedev(device.major, device.minor);
            rustix::fs::mknodat(dir, name, kind, mode, device)
        };
        if records.need_stand_in(self.kind, (self.uid, self.gid)) {
            let file = create(dir, name, mode)?;
            let target = self.target.unwrap_or_default().as_bytes();
            let written = write_all(file.as_fd(), target);
            if written.is_err() {
                undo(dir, name, FileKind::Regular);
            }
            return written.map(|()| Some(file));
        }
        match self.kind {
            FileKind::Regular => return create(dir, name, mode).map(Some),
            FileKind::Directory => rustix::fs::mkdirat(dir, name, mode)?,
            FileKind::Symlink => {
                rustix::fs::symlinkat(
                    self.target.ok_or_else(|| decided(Errno::INVAL))?,
                    dir,
                    name,
                )?;
            }
            FileKind::Fifo => node(FileType::Fifo, Device::default())?,
            FileKind::Socket => node(FileType::Socket, Device::default())?,
            FileKind::Block => node(FileType::BlockDevice, self.rdev)?,
            FileKind::Char => node(FileType::CharacterDevice, self.rdev)?,
        }
        Ok(None)
    }

    /// The record that says what the object on disk does not, or `None` if that says it all.
    pub(crate) fn record(&self, disk: &Statx, records: OverrideStatMode) -> Option<OverrideStat> {
        if !records.rule(self.kind) {
            return None;
        }
        let disk_mode = u32::from(disk.stx_mode);
        let disk_kind = FileKind::from_mode(disk_mode);
        let kind = (disk_kind != Some(self.kind)).then(|| self.record_kind());
        let shows_itself = kind.is_none()
            && records.owner_on_disk(disk) == (self.uid, self.gid)
            && disk_mode & PERMISSIONS == self.mode;
        (!shows_itself).then_some(OverrideStat {
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            kind,
        })
    }

    fn record_kind(&self) -> RecordKind {
        let Device { major, minor } = self.rdev;
        match self.kind {
            FileKind::Regular => RecordKind::File,
            FileKind::Directory => RecordKind::Dir,
            FileKind::Symlink => RecordKind::Symlink,
            FileKind::Fifo => RecordKind::Fifo,
            FileKind::Socket => RecordKind::Socket,
            FileKind::Block => RecordKind::Block(major, minor),
            FileKind::Char => RecordKind::Char(major, minor),
        }
    }
}

fn create(dir: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, mode)
}

fn write_all(file: BorrowedFd<'_>, mut data: &[u8]) -> Result<()> {
    let mut offset = 0;
    while !data.is_empty() {
        let written = rustix::io::pwrite(file, data, offset)?;
        offset += written as u64;
        data = data.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Removes what was made, after a later step failed. What cannot be removed stays for the next mount
/// to clean up, as it would after a crash.
pub(crate) fn undo(dir: BorrowedFd<'_>, name: &OsStr, kind: FileKind) {
    let flags = match kind {
        FileKind::Directory => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    };
    if let Err(errno) = rustix::fs::unlinkat(dir, name, flags) {
        log::warn!("cannot take back {}: {errno}", name.display());
    }
}

//! Whiteouts and opaque directories.

use std::os::fd::{AsFd, BorrowedFd};

use plyfs_format::whiteout::is_whiteout;
use rustix::fs::{AtFlags, Dir, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::path::EntryPath;
use super::{Place, Result, Unpacker};
use crate::layer::EntryFault;

/// Whether what was examined is a whiteout.
pub(super) fn stat_is_whiteout(stat: &rustix::fs::Stat) -> bool {
    let (major, minor) = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    is_whiteout(stat.st_mode, major, minor)
}

impl Unpacker {
    /// Hides the path in the layers below. What the layer itself has there stays.
    pub(super) fn whiteout(&mut self, path: &EntryPath) -> Result<()> {
        let dir = match self.parent(path.parent()) {
            // What was a directory below is a file in this layer, which hides everything in it. umoci
            // writes such whiteouts all the same.
            Err(EntryFault::ParentNotDirectory(_)) => return Ok(()),
            dir => dir?,
        };
        let place = Place { dir, path };
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        match rustix::fs::mknodat(place.dir(), place.name(), kind, mode, 0) {
            Ok(()) => {
                self.facts.whiteouts += 1;
                self.pending.at(path.parent()).whiteouts = true;
                Ok(())
            }
            Err(Errno::EXIST) => match place.stat()? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.opaque(path.path())
                }
                _ => Ok(()),
            },
            // Before Linux 5.8 this was a privilege (mknod(2)).
            Err(errno) => Err(EntryFault::system("make a whiteout")(errno)),
        }
    }

    /// Makes the directory of this path hide those below it.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<()> {
        let dir = self.parent(path)?;
        let directory = self.pending.at(path);
        if std::mem::replace(&mut directory.opaque, true) {
            return Ok(());
        }
        self.facts.opaque += 1;
        self.facts.opaque_root |= path.is_empty();
        set_opaque(dir.as_fd(), self.policy.namespace.opaque())
    }

    /// Removes the whiteouts in directories that are not merged with those below.
    pub(super) fn remove_useless_whiteouts(&mut self) -> Result<()> {
        for path in self.pending.useless_whiteouts() {
            let dir = self
                .tree
                .open(&path)
                .map_err(EntryFault::system("open it"))?;
            remove_whiteouts(dir.as_fd()).map_err(EntryFault::system("remove a whiteout"))?;
        }
        Ok(())
    }
}

fn set_opaque(dir: BorrowedFd<'_>, name: &str) -> Result<()> {
    let set = rustix::fs::fsetxattr(dir, name, b"y", XattrFlags::empty());
    set.map_err(|errno| EntryFault::Xattr {
        name: name.into(),
        errno,
    })
}

fn remove_whiteouts(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let maybe = [FileType::CharacterDevice, FileType::Unknown];
        if maybe.contains(&entry.file_type()) {
            found.push(entry.file_name().to_owned());
        }
    }
    for name in found {
        let stat = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat_is_whiteout(&stat) {
            rustix::fs::unlinkat(dir, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

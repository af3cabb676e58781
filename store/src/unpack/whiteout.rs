//! Whiteouts and opaque directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use plyfs_format::names::Record;
use plyfs_format::whiteout::is_whiteout;
use rustix::fs::{AtFlags, Dir, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::fault::Result;
use super::path::{EntryPath, steps};
use super::place::Place;
use super::unpacker::Unpacker;
use crate::disk::Tree;
use crate::error::EntryFault;

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
        let Some(dir) = self.marked_parent(path.parent())? else {
            return Ok(());
        };
        let place = Place { dir, path };
        match self.make_whiteout(&place) {
            Err(Errno::EXIST) => match place.stat()? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.whiteout_of_directory(&place)
                }
                _ => Ok(()),
            },
            // Before Linux 5.8 this was a privilege (mknod(2)).
            made => made.map_err(EntryFault::system("make a whiteout")),
        }
    }

    fn make_whiteout(&mut self, place: &Place<'_>) -> rustix::io::Result<()> {
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        rustix::fs::mknodat(place.dir(), place.name(), kind, mode, 0)?;
        self.facts.whiteouts += 1;
        self.pending.at(place.path.parent()).whiteouts = true;
        Ok(())
    }

    /// Hides a directory that the layer has as well. One that was made for marks alone says nothing
    /// more than the whiteout: writers that go through a removed tree leave both, in either order.
    fn whiteout_of_directory(&mut self, place: &Place<'_>) -> Result<()> {
        let path = place.path.path();
        // Looked through once, however many whiteouts of it there are.
        if std::mem::replace(&mut self.pending.at(path).hidden, true) {
            return Ok(());
        }
        let dir = Tree::step(&place.dir, place.name()).map_err(EntryFault::system("open it"))?;
        if !self.holds_marks_alone(&dir, path)? {
            return self.opaque_dir(path, dir.as_fd());
        }
        drop(dir);
        self.clear(place)?;
        self.make_whiteout(place)
            .map_err(EntryFault::system("make a whiteout"))
    }

    /// Whether a directory has no entry, and holds whiteouts and directories of this kind only.
    fn holds_marks_alone(&self, dir: &OwnedFd, path: &[u8]) -> Result<bool> {
        if self.pending.has_entry(path) {
            return Ok(false);
        }
        let failed = EntryFault::system("list it");
        for entry in Dir::read_from(dir).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(dir, name, flags).map_err(&failed)?;
            if stat_is_whiteout(&stat) {
                continue;
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(false);
            }
            // No deeper than a path may be.
            let inner = Tree::step(dir, name).map_err(&failed)?;
            if !self.holds_marks_alone(&inner, &[path, b"/", name].concat())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The directory that a mark is made in, made itself if it is missing. `None` if the mark says
    /// nothing: what was a directory below is a whiteout, a link or a file in this layer, which
    /// hides everything in it. Writers that compare two trees still name what is gone.
    fn marked_parent(&mut self, path: &[u8]) -> Result<Option<Rc<OwnedFd>>> {
        if let Ok(dir) = self.tree.open(path) {
            return Ok(Some(dir));
        }
        let mut dir = self.tree.root();
        for (walked, name) in steps(path) {
            let next = match Tree::step(&dir, name) {
                Err(Errno::NOENT) => {
                    let path = EntryPath::parse(walked)?;
                    let dir = Rc::clone(&dir);
                    self.make_dir(&Place { dir, path: &path })?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                other => other.map_err(EntryFault::system("open its parent"))?,
            };
            dir = Rc::new(next);
        }
        self.tree.hold(path, &dir);
        Ok(Some(dir))
    }

    /// Makes the directory of this path hide those below it.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<()> {
        match self.marked_parent(path)? {
            Some(dir) => self.opaque_dir(path, dir.as_fd()),
            // Below a whiteout it hides nothing more.
            None => self.walk_fault(path).map_or(Ok(()), Err),
        }
    }

    /// Makes a directory that is open hide those below it.
    pub(super) fn opaque_dir(&mut self, path: &[u8], dir: BorrowedFd<'_>) -> Result<()> {
        let directory = self.pending.at(path);
        if std::mem::replace(&mut directory.opaque, true) {
            return Ok(());
        }
        self.facts.opaque += 1;
        self.facts.opaque_root |= path.is_empty();
        set_opaque(dir, self.policy.namespace.opaque())
    }

    /// Removes the whiteouts in directories that are not merged with those below.
    pub(super) fn remove_useless_whiteouts(&mut self) -> Result<()> {
        for path in self.pending.useless_whiteouts() {
            let dir = self
                .tree
                .open(&path)
                .map_err(EntryFault::system("open it"))?;
            remove_whiteouts(dir.as_fd()).map_err(EntryFault::system("remove a whiteout"))?;
            self.pending.at(&path).whiteouts = false;
        }
        Ok(())
    }

    /// Marks a directory with whiteouts so that an overlay looks for them even where no layer below
    /// has the directory. The kernel lists a directory of one layer as it is, whiteouts included,
    /// unless it has an origin; an empty one says that it has one and which is not known
    /// (fs/overlayfs/inode.c, `ovl_get_inode`). The whiteouts stay: another image may have the same
    /// layer on top of others, where they hide something.
    pub(super) fn mark_whiteouts(&mut self, dir: BorrowedFd<'_>) -> Result<()> {
        let name = self.policy.namespace.name(Record::Origin);
        match rustix::fs::fsetxattr(dir, name, b"", XattrFlags::empty()) {
            // What it shows too much cannot be opened.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(EntryFault::Xattr {
                name: name.to_bytes().into(),
                errno,
            }),
        }
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

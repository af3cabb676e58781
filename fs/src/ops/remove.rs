//! Removing names.
//!
//! What only the upper layer has is unlinked there. What a lower layer has is hidden by a whiteout,
//! which takes the place of the upper object, if there is one, in one rename.
//!
//! A file that is removed while the kernel knows it stays usable: its node keeps a descriptor of the
//! object, taken before the name goes. An object in a lower layer needs none, since nothing ever
//! removes it there.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use plyfs_sys::xattr::At;
use rustix::fs::{AtFlags, FileType, OFlags};

use crate::Overlay;
use crate::disk::calls;
use crate::disk::fd_cache::Key;
use crate::disk::remove_tree::for_each_entry;
use crate::error::{Errno, Result, decided};
use crate::inode::listing::Known;
use crate::inode::node::{Names, Node, Place, Real, lock_names};
use crate::layer::lower::Name;
use crate::layer::whiteout::is_whiteout;
use crate::ops::copy_up::Extent;
use crate::ops::create::Site;
use crate::ops::lookup::check_name;
use crate::types::FileKind;

/// A looked-up node that is forgotten again at the end of an operation.
pub(crate) struct Held<'o> {
    overlay: &'o Overlay,
    pub(crate) node: Arc<Node>,
}

impl<'o> Held<'o> {
    /// Takes over one lookup of a node.
    pub(crate) fn new(overlay: &'o Overlay, node: Arc<Node>) -> Self {
        Self { overlay, node }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.overlay.forget(self.node.id, 1);
    }
}

impl Overlay {
    /// The node under a name, for the length of an operation.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub(crate) fn hold(&self, parent: &Arc<Node>, name: &OsStr) -> Result<Held<'_>> {
        let names = parent.dir()?.names.read();
        self.hold_locked(parent, &names, name)
    }

    /// As [`hold`](Self::hold), for a caller that holds the namespace lock.
    pub(crate) fn hold_locked(
        &self,
        parent: &Arc<Node>,
        names: &Names,
        name: &OsStr,
    ) -> Result<Held<'_>> {
        if let Some(held) = self.known_here(parent, names, name) {
            return Ok(held);
        }
        let (node, _) = self.lookup_locked(parent, names, name)?;
        Ok(Held::new(self, node))
    }

    /// The node under a name, if the listing leads to it. No system call is made: what is known of a name
    /// under its lock is so.
    fn known_here(&self, parent: &Arc<Node>, names: &Names, name: &OsStr) -> Option<Held<'_>> {
        let known = self.listing_of(names)?.known(name)?;
        let Known::Object(number, _) = known else {
            return None;
        };
        let held = Held::new(self, self.nodes.find_once_more(number)?);
        held.node.is_at(parent, name).then_some(held)
    }

    /// Removes a name of a file that is no directory (unlink(2)).
    ///
    /// # Errors
    /// `NOENT`, `ISDIR`, `ROFS`, and those of copying up the directory and of unlink(2).
    pub fn unlink(&self, parent: u64, name: &OsStr) -> Result<()> {
        check_name(name)?;
        let upper = self.upper()?;
        let parent = self.node(parent)?;
        if !parent.in_upper() {
            // Nothing is copied up for what cannot be done.
            let held = self.hold(&parent, name)?;
            self.check_may_leave(&parent, &held.node)?;
            if held.node.kind.is_dir() {
                return Err(Errno::ISDIR);
            }
        }
        self.copy_up(&parent, Extent::Whole)?;
        let (mut names, held) = self.find_to_unlink(&parent, name)?;
        let site = self.site(upper, &parent, &names)?;
        let place = held.node.place.write();
        let leaving = self.prepare_to_leave(&held.node, place, &parent, name, &site)?;
        self.remove_name(&site, &names, name)?;
        leaving.leave();
        if let Some(listing) = &mut names.listing {
            listing.remove(name);
        }
        Ok(())
    }

    /// The node under a name that is to be removed, and the names of its directory, locked.
    ///
    /// One of several names of a lower file is copied up before, so that the index can tell how many
    /// are left, as in the kernel's overlay.
    fn find_to_unlink<'n>(
        &'n self,
        parent: &'n Arc<Node>,
        name: &OsStr,
    ) -> Result<(RwLockWriteGuard<'n, Names>, Held<'n>)> {
        loop {
            let names = parent.dir()?.names.write();
            if self.index().is_none() {
                let held = self.hold_locked(parent, &names, name)?;
                self.check_may_leave(parent, &held.node)?;
                return match held.node.kind.is_dir() {
                    true => Err(Errno::ISDIR),
                    false => Ok((names, held)),
                };
            }
            let (node, entry) = self.lookup_locked(parent, &names, name)?;
            let held = Held::new(self, node);
            self.check_may_leave(parent, &held.node)?;
            if held.node.kind.is_dir() {
                return Err(Errno::ISDIR);
            }
            if entry.attr.nlink < 2 || held.node.in_upper() {
                return Ok((names, held));
            }
            drop(names);
            self.copy_up(&held.node, Extent::None)?;
        }
    }

    /// Removes an empty directory (rmdir(2)).
    ///
    /// # Errors
    /// `NOENT`, `NOTDIR`, `NOTEMPTY`, `ROFS`, and those of copying up and of rmdir(2).
    pub fn rmdir(&self, parent: u64, name: &OsStr) -> Result<()> {
        check_name(name)?;
        let upper = self.upper()?;
        let parent = self.node(parent)?;
        let held = self.hold(&parent, name)?;
        let node = &held.node;
        self.check_may_leave(&parent, node)?;
        let dir = node.dir()?;
        if !parent.in_upper() && !self.is_empty(node, &mut dir.names.write())? {
            // Nothing is copied up for what cannot be done.
            return Err(Errno::NOTEMPTY);
        }
        self.copy_up(&parent, Extent::Whole)?;
        let mut locks = lock_names(&[&parent, node])?;
        let site = self.site(upper, &parent, locks.of(&parent)?)?;
        if !node.is_at(&parent, name) {
            return Err(Errno::NOENT);
        }
        // What is in the upper layer alone tells by itself whether there is something in it.
        let alone = !node.shows_lowers() && !self.lower_positive(locks.of(&parent)?, name)?;
        if !alone && !self.is_empty(node, locks.of(node)?)? {
            return Err(Errno::NOTEMPTY);
        }
        let place = node.place.write();
        let leaving = self.prepare_to_leave(node, place, &parent, name, &site)?;
        let removed = match alone {
            true => rustix::fs::unlinkat(&site.dir, name, AtFlags::REMOVEDIR),
            false => Err(Errno::NOTEMPTY),
        };
        match removed {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => other?,
        }
        if removed.is_err() {
            // There may be whiteouts in it.
            if alone && !self.is_empty_upper(&site, name)? {
                return Err(Errno::NOTEMPTY);
            }
            if leaving.in_upper() {
                self.remove_upper_dir(&site, locks.of(&parent)?, name)?;
            } else {
                upper.work.make_whiteout(site.dir.as_fd(), name)?;
            }
        }
        leaving.leave();
        locks.of(node)?.removed = true;
        locks.of(node)?.listing = None;
        if let Some(listing) = &mut locks.of(&parent)?.listing {
            listing.remove(name);
        }
        Ok(())
    }

    /// Makes a name show nothing. What is there now is no directory.
    pub(crate) fn remove_name(&self, site: &Site<'_>, names: &Names, name: &OsStr) -> Result<()> {
        let (dir, work) = (site.dir.as_fd(), &site.upper.work);
        if !self.lower_positive(names, name)? {
            return rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
        if work.writes_files() {
            // It says nothing as long as the name is there.
            work.make_whiteout(dir, name)?;
            return match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            };
        }
        match work.make_whiteout(dir, name) {
            // The upper layer has it, too.
            Err(Errno::EXIST) => {}
            other => return other,
        }
        let whiteout = work.stage_whiteout()?;
        let moved = work.replace(&whiteout, (dir, name));
        if moved.is_err() {
            work.discard(&whiteout);
        }
        moved
    }

    /// Whether an upper directory that shows no lower ones holds nothing but whiteouts.
    fn is_empty_upper(&self, site: &Site<'_>, name: &OsStr) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let at = At::Name(site.dir.as_fd(), name.as_bytes());
        let dir = self.fds.open(|| calls::open(at, flags))?;
        let mut empty = true;
        for_each_entry(dir.as_fd(), |name, kind, _| {
            let layer = &site.upper.layer;
            if layer.is_archive_name(OsStr::from_bytes(name.to_bytes())) {
                return Ok(());
            }
            let may_hide = matches!(kind, FileType::CharacterDevice | FileType::Unknown);
            empty &= may_hide && is_whiteout(&calls::stat_name(dir.as_fd(), name.to_bytes())?);
            Ok(())
        })?;
        Ok(empty)
    }

    /// Removes an upper directory that shows nothing, but may hold whiteouts.
    fn remove_upper_dir(&self, site: &Site<'_>, names: &Names, name: &OsStr) -> Result<()> {
        let (dir, work) = (site.dir.as_fd(), &site.upper.work);
        let hides = self.lower_positive(names, name)?;
        if hides && work.writes_files() {
            work.make_whiteout(dir, name)?;
        }
        if !hides || work.writes_files() {
            match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                other => return other,
            }
            return work.take_away((dir, name));
        }
        work.replace_by_whiteout((dir, name))
    }
}

/// A node that is about to lose its name, with its place locked.
pub(crate) struct Leaving<'n> {
    overlay: &'n Overlay,
    id: u64,
    place: RwLockWriteGuard<'n, Place>,
    /// Whether it is known by that name, and not by another of a hard link.
    is_known_here: bool,
    in_upper: bool,
    keep: Option<Arc<OwnedFd>>,
    /// Its name in the index, and how many names it shows; and whether the one it loses is lower.
    indexed: Option<(Name, u32)>,
    is_lower_name: bool,
}

impl Overlay {
    /// Takes a descriptor of a node's object, if it is known by this name or in the index. A hard link
    /// that is known by another name keeps that. `place` is the node's own.
    pub(crate) fn prepare_to_leave<'n>(
        &'n self,
        node: &'n Node,
        place: RwLockWriteGuard<'n, Place>,
        parent: &Arc<Node>,
        name: &OsStr,
        site: &Site<'_>,
    ) -> Result<Leaving<'n>> {
        let is_known_here = place.is_at(parent, name);
        let mut leaving = Leaving {
            overlay: self,
            id: node.id,
            is_known_here,
            in_upper: true,
            keep: None,
            indexed: None,
            is_lower_name: false,
            place,
        };
        match &leaving.place.real {
            Real::Index(entry) => {
                let index = self.index().ok_or_else(|| decided(Errno::STALE))?;
                let entry = Name::clone(entry);
                let fd = self.open_to_keep(index.dir().as_fd(), &entry, node.kind)?;
                let stat = calls::stat_fd(fd.as_fd())?;
                leaving.indexed = Some((entry.clone(), index.links(&entry, &stat, None)?));
                leaving.keep = Some(Arc::new(fd));
                let above = self.upper_stat(site.dir.as_fd(), name)?;
                leaving.is_lower_name = above.is_none();
            }
            Real::Upper if is_known_here => {
                leaving.keep = Some(match self.fds.get(Key::File(node.id)) {
                    Some(handle) if leaving.place.below.data().is_none() => handle.fd,
                    _ => Arc::new(self.open_to_keep(site.dir.as_fd(), name, node.kind)?),
                });
            }
            Real::Lower(_) if is_known_here => leaving.in_upper = false,
            _ => {}
        }
        Ok(leaving)
    }

    fn open_to_keep(&self, dir: BorrowedFd<'_>, name: &OsStr, kind: FileKind) -> Result<OwnedFd> {
        let flags = match kind {
            FileKind::Directory => OFlags::PATH | OFlags::DIRECTORY,
            _ => OFlags::PATH,
        };
        self.fds
            .open(|| calls::open(At::Name(dir, name.as_bytes()), flags))
    }
}

impl Leaving<'_> {
    pub(crate) fn in_upper(&self) -> bool {
        self.in_upper
    }

    /// Says that the name is gone.
    pub(crate) fn leave(mut self) {
        let is_last = match &self.indexed {
            None => self.is_known_here,
            Some((entry, links)) => {
                if let Err(errno) = self.uncount(entry, *links) {
                    log::warn!("a file counts a name too many: {errno}");
                }
                self.is_last(*links)
            }
        };
        if is_last && let Some(fd) = self.keep.take() {
            self.place.real = Real::Orphan(self.overlay.removed.keep(fd));
        }
        if is_last || self.is_known_here {
            // The parent is known besides: its id was just used.
            drop(self.place.set_parent(None));
        }
    }

    /// Whether an indexed file has no name after this one, of so many.
    fn is_last(&self, links: u32) -> bool {
        links <= 1 && (self.is_known_here || self.place.parent.is_none())
    }

    /// Takes the name from the count of an indexed file, and the file from the index with its last.
    fn uncount(&self, entry: &Name, links: u32) -> Result<()> {
        let index = self.overlay.index().ok_or_else(|| decided(Errno::STALE))?;
        match links {
            // Names were added to the lower file meanwhile: it still has the one we know. The kernel has counted
            // down by itself, and would not link a file that has no name.
            0 | 1 if !self.is_last(links) => {
                self.overlay.changed_unasked(self.id);
                index.count_down(entry, 1)
            }
            0 | 1 => index.remove(entry),
            _ if self.is_lower_name => index.count_down(entry, links - 1),
            // The count is relative to what the file has on disk, which is one less now.
            _ => Ok(()),
        }
    }
}

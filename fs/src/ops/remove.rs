//! Removing names: unlink(2) and rmdir(2).
//!
//! What only the upper layer has is unlinked there. What a lower layer has is hidden by a whiteout,
//! which takes the place of the upper object, if there is one, in one rename.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use plyfs_sys::xattr::At;
use rustix::fs::{AtFlags, FileType, OFlags};

use crate::Overlay;
use crate::disk::calls;
use crate::disk::dirents::for_each_entry;
use crate::error::{Errno, Result};
use crate::inode::dir::Names;
use crate::inode::locks::lock_names;
use crate::inode::node::Node;
use crate::layer::whiteout::is_whiteout;
use crate::ops::hold::LookupGuard;
use crate::ops::lookup::check_name;
use crate::ops::upper_parent::UpperParent;
use crate::types::Extent;

impl Overlay {
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
        let upper_parent = self.upper_parent(upper, &parent, &names)?;
        let place = held.node.place.write();
        let leaving = self.prepare_to_leave(&held.node, place, &parent, name, &upper_parent)?;
        self.remove_name(&upper_parent, &names, name)?;
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
    ) -> Result<(RwLockWriteGuard<'n, Names>, LookupGuard<'n>)> {
        loop {
            let names = parent.dir()?.names.write();
            if self.index().is_none() {
                let held = self.hold_locked(parent, &names, name)?;
                self.check_may_leave(parent, &held.node)?;
                return if held.node.kind.is_dir() {
                    Err(Errno::ISDIR)
                } else {
                    Ok((names, held))
                };
            }
            let (node, entry) = self.lookup_locked(parent, &names, name)?;
            let held = LookupGuard::new(self, node);
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
        let upper_parent = self.upper_parent(upper, &parent, locks.of(&parent)?)?;
        if !node.is_at(&parent, name) {
            return Err(Errno::NOENT);
        }
        // What is in the upper layer alone tells by itself whether there is something in it.
        let alone = !node.shows_lowers() && !self.lower_positive(locks.of(&parent)?, name)?;
        if !alone && !self.is_empty(node, locks.of(node)?)? {
            return Err(Errno::NOTEMPTY);
        }
        let place = node.place.write();
        let leaving = self.prepare_to_leave(node, place, &parent, name, &upper_parent)?;
        let removed = if alone {
            rustix::fs::unlinkat(&upper_parent.dir, name, AtFlags::REMOVEDIR)
        } else {
            Err(Errno::NOTEMPTY)
        };
        match removed {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => other?,
        }
        if removed.is_err() {
            // There may be whiteouts in it.
            if alone && !self.is_empty_upper(&upper_parent, name)? {
                return Err(Errno::NOTEMPTY);
            }
            if leaving.in_upper() {
                self.remove_upper_dir(&upper_parent, locks.of(&parent)?, name)?;
            } else {
                upper.work.make_whiteout(upper_parent.dir.as_fd(), name)?;
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
    fn remove_name(
        &self,
        upper_parent: &UpperParent<'_>,
        names: &Names,
        name: &OsStr,
    ) -> Result<()> {
        let (dir, work) = (upper_parent.dir.as_fd(), &upper_parent.upper.work);
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
    fn is_empty_upper(&self, upper_parent: &UpperParent<'_>, name: &OsStr) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let at = At::Name(upper_parent.dir.as_fd(), name.as_bytes());
        let dir = self.fds.open(|| calls::open(at, flags))?;
        let mut empty = true;
        for_each_entry(dir.as_fd(), |name, kind, _| {
            let layer = &upper_parent.upper.layer;
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
    fn remove_upper_dir(
        &self,
        upper_parent: &UpperParent<'_>,
        names: &Names,
        name: &OsStr,
    ) -> Result<()> {
        let (dir, work) = (upper_parent.dir.as_fd(), &upper_parent.upper.work);
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

//! Cutting a directory off from the layers below, so that it can be moved without a redirect.
//!
//! Everything the directory shows is copied up where it is, from the bottom, and then each directory
//! is made opaque. Nothing that can be seen changes on the way: whatever stops it in between leaves
//! the same tree, of which more is in the upper layer than before. The move itself is one rename.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::names::Record;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{AtFlags, OFlags};

use crate::Overlay;
use crate::disk::calls;
use crate::disk::dirents::for_each_entry;
use crate::error::{Errno, Result};
use crate::inode::backing::Backing;
use crate::inode::dir::Names;
use crate::inode::listing::EntryInfo;
use crate::inode::locks::lock_names;
use crate::inode::node::Node;
use crate::layer::whiteout::is_whiteout;
use crate::ops::hold::LookupGuard;
use crate::types::{Extent, Name};

/// A directory on the way down.
struct Level<'o> {
    /// Keeps the node known until it is done.
    _held: Option<LookupGuard<'o>>,
    node: Arc<Node>,
    /// What was not looked at yet.
    left: Vec<Name>,
}

impl Overlay {
    /// Makes a node show nothing but what is in the upper layer.
    ///
    /// # Errors
    /// Those of copying up. What was done before stays.
    pub(super) fn detach_from_lower(&self, node: &Arc<Node>) -> Result<()> {
        self.copy_up(node, Extent::Whole)?;
        if !node.shows_lowers() {
            return Ok(());
        }
        let mut levels = vec![self.level(None, node.clone())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.left.pop() else {
                level.left = self.seal(&level.node)?;
                if level.left.is_empty() {
                    levels.pop();
                }
                continue;
            };
            let held = match self.hold(&level.node, &name) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let child = held.node.clone();
            self.copy_up(&child, Extent::Whole)?;
            self.give_name(&level.node, &name, &child)?;
            if is_tied(&child) && child.kind.is_dir() {
                levels.push(self.level(Some(held), child)?);
            }
        }
        Ok(())
    }

    /// Gives a file in the index, of which this is a lower name, the name in the upper layer.
    fn give_name(&self, parent: &Arc<Node>, name: &Name, node: &Arc<Node>) -> Result<()> {
        if !matches!(node.place.read().backing, Backing::Index(_)) {
            return Ok(());
        }
        let mut names = parent.dir()?.names.write();
        let upper_parent = self.upper_parent(self.upper()?, parent, &names)?;
        match self.lookup_locked(parent, &names, name) {
            Ok((found, _)) => {
                let held = LookupGuard::new(self, found);
                if Arc::ptr_eq(&held.node, node) {
                    self.link_up(&upper_parent, &mut names, name, node)
                } else {
                    Ok(())
                }
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn level<'o>(&'o self, held: Option<LookupGuard<'o>>, node: Arc<Node>) -> Result<Level<'o>> {
        let left = self.names_of(&node)?;
        Ok(Level {
            _held: held,
            node,
            left,
        })
    }

    /// Makes a directory opaque if all it shows is in its upper directory. Returns the names that are
    /// not: they came, or were changed, after they were looked at.
    fn seal(&self, node: &Arc<Node>) -> Result<Vec<Name>> {
        let upper = self.upper()?;
        let parent = node.place.read().parent.clone();
        // Those of its parent, too: no lookup may find it while what it is known by changes.
        let dirs: Vec<_> = parent.iter().chain([node]).collect();
        let mut locks = lock_names(&dirs)?;
        let names = locks.of(node)?;
        let all = self.names_of_locked(node, names)?;
        if !is_in(node, parent.as_ref()) {
            // It was moved before the names were locked; they are looked at once more.
            return Ok(all);
        }
        let mut left = Vec::new();
        for name in all {
            if !self.is_free(node, names, &name)? {
                left.push(name);
            }
        }
        if !left.is_empty() || names.removed {
            return Ok(left);
        }
        let fd = self.upper_dir(node)?;
        let at = At::Fd(fd.as_fd());
        let object = self.object_of(&calls::stat(at)?);
        match upper.hide_below(at) {
            // Without the mark it can only be copied, name by name.
            Err(Errno::OPNOTSUPP) => return Err(Errno::XDEV),
            other => other?,
        }
        if let Err(errno) = remove_whiteouts(at) {
            log::debug!("whiteouts of nothing stay: {errno}");
        }
        node.dir()?.detach_from_lower(names);
        // Its number came from the lower directory, and comes from its own from now on. Who has it open
        // has the same node nevertheless.
        self.nodes.rebind(node, object, false);
        if let Some(parent) = &parent
            && let Some(listing) = &mut locks.of(parent)?.listing
        {
            let name = node.place.read().name.clone();
            listing.insert(&name, EntryInfo::Object(object, node.kind));
        }
        if node.place.write().lower_link.drop_redirect() {
            // An opaque directory's redirect is not followed; another mounter need not know that.
            match xattr::remove(at, upper.namespace.name(Record::Redirect)) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(error) => log::debug!("an opaque directory keeps a redirect: {error}"),
            }
        }
        // Its ctime, and its link count, which was 1 as long as it was merged.
        self.changed_unasked(node.id);
        Ok(left)
    }

    /// Whether a name needs nothing of the layers below its directory.
    fn is_free(&self, parent: &Arc<Node>, names: &Names, name: &Name) -> Result<bool> {
        let node = match self.lookup_locked(parent, names, name) {
            Err(Errno::NOENT) => return Ok(true),
            other => LookupGuard::new(self, other?.0),
        };
        let dir = self.upper_dir(parent)?;
        let at = At::Name(dir.as_fd(), name.as_bytes());
        // A hard link may be in the upper layer under another name alone.
        let is_there = calls::stat_of_absent(calls::stat(at))?.is_some();
        Ok(is_there && !is_tied(&node.node))
    }
}

/// Removes whiteouts from a directory that has nothing below it any more. The kernel's overlay, which
/// makes no such directory, would list them as names.
fn remove_whiteouts(dir: At<'_>) -> Result<()> {
    let dir = calls::open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mtime = calls::stat(At::Fd(dir.as_fd()))?.stx_mtime.into();
    let mut whiteouts = Vec::new();
    for_each_entry(dir.as_fd(), |name, _, _| {
        let stat = calls::stat(At::Name(dir.as_fd(), name.to_bytes()))?;
        if is_whiteout(&stat) {
            whiteouts.push(name.to_owned());
        }
        Ok(())
    })?;
    if whiteouts.is_empty() {
        return Ok(());
    }
    for name in whiteouts {
        rustix::fs::unlinkat(&dir, &name, AtFlags::empty())?;
    }
    calls::set_mtime(dir.as_fd(), mtime)
}

/// Whether a node is in this directory, still.
fn is_in(node: &Node, parent: Option<&Arc<Node>>) -> bool {
    let place = node.place.read();
    match parent {
        Some(parent) => place.is_in(parent),
        None => place.parent.is_none(),
    }
}

/// Whether a node shows something of the layers below that it finds by its name.
fn is_tied(node: &Node) -> bool {
    let by_name = || {
        let place = node.place.read();
        let redirect = place.lower_link.redirect();
        !redirect.is_some_and(crate::layer::redirect::Redirect::is_path)
    };
    !node.in_upper() || ((node.shows_lowers() || node.is_metacopy()) && by_name())
}

//! Lookup: from a name in a merged directory to the node it stands for.
//!
//! What the layers hold under the name is found by the [search](crate::ops::lookup_layers); here it becomes a
//! node, the same one as long as the kernel knows it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::Overlay;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::{Backing, LowerLink};
use crate::inode::dir::Names;
use crate::inode::identity::{Identity, NameIn};
use crate::inode::listing::FirstLayer;
use crate::inode::node::{Node, Place};
use crate::layer::lower_dir::LowerDir;
use crate::ops::layer_entry::LayerEntry;
use crate::types::{Attr, Entry, FileKind, Name};

/// The longest name of a file, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Checks a name that a caller gave.
///
/// # Errors
/// `NAMETOOLONG`, and `INVAL` for what can be no name of a file.
pub(super) fn check_name(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    if bytes.len() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(decided(Errno::INVAL));
    }
    Ok(())
}

impl Overlay {
    /// Finds a name in a directory.
    ///
    /// # Errors
    /// `NOENT` if there is no such name, `NOTDIR`, `STALE` if the id is not known, and those of the
    /// layers' file systems.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Entry> {
        check_name(name)?;
        let parent = self.node(parent)?;
        Ok(self.lookup_in(&parent, name)?.1)
    }

    /// As [`lookup`](Self::lookup), with the node.
    pub(super) fn lookup_in(&self, parent: &Arc<Node>, name: &OsStr) -> Result<(Arc<Node>, Entry)> {
        let dir = parent.dir()?;
        let names = dir.names.read();
        let searches = self.listing_of(&names).is_none();
        let found = self.lookup_locked(parent, &names, name);
        drop(names);
        if searches && !self.lowers_change && dir.count_search() {
            self.list_if_small(parent);
        }
        found
    }

    /// As [`lookup_in`](Self::lookup_in), for a caller that holds the namespace lock.
    pub(super) fn lookup_locked(
        &self,
        parent: &Arc<Node>,
        names: &Names,
        name: &OsStr,
    ) -> Result<(Arc<Node>, Entry)> {
        if names.removed {
            return Err(Errno::NOENT);
        }
        let (name, first) = match self.listing_of(names) {
            None => (Name::from(name), FirstLayer::Unknown),
            // All names are known, and this may be none of them.
            Some(listing) => listing.get(name).ok_or(Errno::NOENT)?,
        };
        let found = self.lookup_layers(parent, names, &name, first)?;
        let found = found.ok_or(Errno::NOENT)?;
        let (node, attr) = self.node_of(parent, name, found)?;
        let entry = Entry { id: node.id, attr };
        Ok((node, entry))
    }

    /// The node for what was found, counted as looked up.
    pub(super) fn node_of(
        &self,
        parent: &Arc<Node>,
        name: Name,
        found: LayerEntry,
    ) -> Result<(Arc<Node>, Attr)> {
        let (mut attr, number) = (found.attr, found.number);
        let in_upper = !matches!(found.backing, Backing::Lower(_));
        let has_links = !attr.kind.is_dir() && found.links > 1;
        // Whether a copy-up may part this name from others of the same file.
        let may_part = self.upper.is_some() && self.index().is_none();
        let at = NameIn::new(parent, &name);
        let identity = if !in_upper && has_links && (may_part || found.is_mounted_inside) {
            Identity::Link(Box::new((number, at.clone())))
        } else {
            Identity::Object(number)
        };
        // A directory is what its number comes from: it has one place.
        let object = match attr.kind {
            FileKind::Directory => number,
            _ => found.object,
        };
        let place = || Place {
            parent: Some(parent.clone()),
            name: name.clone(),
            backing: found.backing.clone(),
            lower_link: LowerLink::new(found.redirect.clone(), found.data.clone()),
        };
        let make = |id| {
            let ino = number.derived().unwrap_or(id);
            Node::new(id, ino, attr.kind, place(), found.lowers.clone())
        };
        let mut node = self.nodes.obtain(identity.clone(), &at, object, make);
        if self.lowers_change && !self.still_fits(&node, parent, &name, &found) {
            self.nodes.part_with(node.id);
            self.forget(node.id, 1);
            node = self.nodes.obtain(identity, &at, object, make);
        }
        if is_another(&node, parent, &name, &found) {
            let known = std::mem::replace(
                &mut node,
                self.nodes.obtain_at_path(number, at, object, make),
            );
            // Only now: as long as that node is known, no other lookup takes its place in the table.
            self.forget(known.id, 1);
        }
        if let Err(error) = self.settle(&node, parent, &name, &found) {
            self.forget(node.id, 1);
            return Err(error);
        }
        if in_upper || !self.lowers_change {
            node.protection.saw_flags(found.flags);
        }
        self.adapt(&node, &mut attr, in_upper);
        self.adapt_blocks(&mut attr, found.data.as_ref())?;
        Ok((node, attr))
    }

    /// Makes sure that a node, which may have been known before, fits where its object was found.
    ///
    /// # Errors
    /// `STALE` if the layers were changed so that it does not.
    fn settle(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &Name,
        found: &LayerEntry,
    ) -> Result<()> {
        let kind = found.attr.kind;
        if node.kind != kind {
            return Err(decided(Errno::STALE));
        }
        // Where layers change, the name that a lower file was found by last is the one that is there.
        let moves = |place: &Place| {
            place.parent.is_none()
                || (self.lowers_change && matches!(place.backing, Backing::Lower(_)))
        };
        {
            let place = node.place.read();
            if place.is_at(parent, name) {
                return Ok(());
            }
            if kind.is_dir() {
                return Err(decided(Errno::STALE));
            }
            if !moves(&place) {
                return Ok(());
            }
        }
        // The name we knew a hard link by was removed; this is another of its names.
        let mut place = node.place.write();
        let mut former = None;
        if moves(&place) {
            former = place.set_parent(Some(parent.clone()));
            place.name = name.clone();
            place.backing = found.backing.clone();
            place.lower_link = LowerLink::new(found.redirect.clone(), found.data.clone());
        }
        drop(place);
        if let Some(former) = former {
            // It may have been known because of this node alone.
            self.forget(former.id, 0);
        }
        Ok(())
    }

    /// Whether a node that was known before is what the layers have under a name now.
    fn still_fits(
        &self,
        node: &Node,
        parent: &Arc<Node>,
        name: &OsStr,
        found: &LayerEntry,
    ) -> bool {
        if node.kind != found.attr.kind {
            return false;
        }
        let place = node.place.read();
        if place.parent.is_none() {
            // The name that it was known by was removed; it takes this one.
            return !node.kind.is_dir();
        }
        if !place.is_at(parent, name) {
            // One of several names of a file, which is one node.
            return !node.kind.is_dir() && found.links > 1;
        }
        let is_same_layer = match (&place.backing, &found.backing) {
            (Backing::Lower(known), Backing::Lower(now)) => known.is_same(now),
            (Backing::Lower(_), _) | (_, Backing::Lower(_)) => false,
            _ => true,
        };
        drop(place);
        is_same_layer && shows(node, &found.lowers)
    }
}

/// Whether a known node with the number of what was found is another file: it has another path, and neither is one
/// of several names of a file. File systems that put several others together may show one number twice (bindfs,
/// virtiofs), and a mount inside a lower layer may show one object twice.
///
/// The caller holds the namespace lock of `parent`. A thread that takes a name from a file holds its place until the node
/// has lost it, too, so that a count of one link is not read together with a name that is gone.
fn is_another(node: &Node, parent: &Arc<Node>, name: &Name, found: &LayerEntry) -> bool {
    let place = node.place.read();
    if place.is_at(parent, name) {
        return false;
    }
    if found.attr.kind.is_dir() || node.kind != found.attr.kind {
        return true;
    }
    if found.links > 1 || matches!(found.backing, Backing::Index(_)) {
        return false;
    }
    // The last name of an upper file whose others were removed leads to the same object; a lower file that was
    // removed had no other.
    place.parent.is_some() || matches!(place.backing, Backing::Lower(_))
}

/// Whether a directory shows these lower directories. One that is being changed is looked at the next time.
pub(super) fn shows(node: &Node, lowers: &[Arc<LowerDir>]) -> bool {
    let names = node.dir.as_ref().and_then(|dir| dir.names.try_read());
    names.is_none_or(|names| {
        let same = |(known, now): (&Arc<LowerDir>, &Arc<LowerDir>)| known.is_same(now);
        names.lowers.len() == lowers.len() && names.lowers.iter().zip(lowers).all(same)
    })
}

//! The moves of a rename: one name to another, or two names exchanged. The caller holds all locks.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::{AtFlags, RenameFlags};

use crate::Overlay;
use crate::disk::fd_cache::Key;
use crate::disk::owner_mode;
use crate::error::{Errno, Result};
use crate::inode::dir::Names;
use crate::inode::identity::NameIn;
use crate::inode::listing::EntryInfo;
use crate::inode::locks::{NameLocks, lock_places};
use crate::inode::node::Node;
use crate::ops::upper_parent::{NameState, UpperParent};
use crate::types::Name;

/// A name in a directory: one end of a rename.
#[derive(Clone, Copy)]
pub(super) struct End<'r> {
    pub(super) parent: &'r Arc<Node>,
    pub(super) name: &'r OsStr,
}

/// What a move has to see to besides.
struct Move {
    /// A directory comes to where a whiteout is, and cannot be renamed over it.
    over_whiteout: bool,
    /// The old name is to be hidden in the layers below.
    leaves_whiteout: bool,
    /// The new name shows something, which is replaced.
    is_shown: bool,
}

fn move_name(
    here: &UpperParent<'_>,
    name: &OsStr,
    there: &UpperParent<'_>,
    new_name: &OsStr,
    how: Move,
) -> Result<()> {
    let work = &here.upper.work;
    let by_file = how.leaves_whiteout && !how.over_whiteout && work.writes_files();
    if by_file {
        // It says nothing as long as the name is there.
        work.make_whiteout(here.dir.as_fd(), name)?;
    }
    let (from, to) = ((here.dir.as_fd(), name), (there.dir.as_fd(), new_name));
    if how.over_whiteout && !work.moves().exchange {
        return work.move_over_whiteout(from, to, how.leaves_whiteout);
    }
    if how.leaves_whiteout && !how.over_whiteout && !by_file {
        return work.leave_whiteout(from, to, how.is_shown);
    }
    let flags = if how.over_whiteout {
        RenameFlags::EXCHANGE
    } else {
        RenameFlags::empty()
    };
    owner_mode::rename(from, to, flags)?;
    if how.over_whiteout && !how.leaves_whiteout {
        // The whiteout has come here in exchange; with nothing below, it hides nothing. The move is
        // done, whatever becomes of it.
        if let Err(errno) = rustix::fs::unlinkat(&here.dir, name, AtFlags::empty()) {
            log::debug!("a whiteout of nothing stays: {errno}");
        }
    }
    Ok(())
}

impl Overlay {
    /// Moves `node`; what is at the new name, if anything, goes.
    pub(super) fn replace(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Arc<Node>,
        target: Option<&Arc<Node>>,
        locks: &mut NameLocks<'_>,
    ) -> Result<()> {
        let upper = self.upper()?;
        let here = self.upper_parent(upper, from.parent, locks.of(from.parent)?)?;
        let there = self.upper_parent(upper, to.parent, locks.of(to.parent)?)?;
        let leaves_whiteout = self.lower_positive(locks.of(from.parent)?, from.name)?;
        self.make_opaque_for(&here, from.name, node, locks.of(to.parent)?, to.name)?;
        self.mark_parent_impure(&there, node);
        // A file takes the place of whatever is there.
        let name_state = if node.kind.is_dir() {
            self.upper_name_state(&there, to.name)?
        } else {
            NameState::Bare
        };
        let (mut place, target_place) = lock_places(node, target.map(|target| &**target));
        let leaving = match (target, target_place) {
            (Some(target), Some(place)) => {
                Some(self.prepare_to_leave(target, place, to.parent, to.name, &there)?)
            }
            _ => None,
        };
        // After that, since a caller that has the directory open keeps it, and not what takes its place.
        let mut aside = None;
        if let Some(target) = target.filter(|target| target.kind.is_dir())
            && name_state == NameState::Taken
        {
            aside = self.clear_whiteouts(&there, to.name, locks.of(target)?)?;
            self.fds.remove(Key::UpperDir(target.id));
        }
        let moved = move_name(
            &here,
            from.name,
            &there,
            to.name,
            Move {
                over_whiteout: name_state == NameState::Whiteout && node.kind.is_dir(),
                leaves_whiteout,
                is_shown: target.is_some(),
            },
        );
        if let Some(aside) = aside {
            aside.end(moved.is_ok());
        }
        moved?;
        if place.is_at(from.parent, from.name) {
            drop(place.set_parent(Some(to.parent.clone())));
            place.name = Name::from(to.name);
            self.nodes
                .moved(node.id, NameIn::new(to.parent, &place.name));
        }
        drop(place);
        if let Some(leaving) = leaving {
            leaving.leave();
        }
        if let Some(listing) = &mut locks.of(from.parent)?.listing {
            if Arc::ptr_eq(from.parent, to.parent) {
                listing.rename(from.name, &Name::from(to.name))
            } else {
                listing.remove(from.name)
            }
        }
        self.list_moved(to, node, locks)
    }

    /// Makes two names change places.
    pub(super) fn exchange(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Arc<Node>,
        target: &Arc<Node>,
        locks: &mut NameLocks<'_>,
    ) -> Result<()> {
        let upper = self.upper()?;
        let here = self.upper_parent(upper, from.parent, locks.of(from.parent)?)?;
        let there = self.upper_parent(upper, to.parent, locks.of(to.parent)?)?;
        self.make_opaque_for(&here, from.name, node, locks.of(to.parent)?, to.name)?;
        self.make_opaque_for(&there, to.name, target, locks.of(from.parent)?, from.name)?;
        self.mark_parent_impure(&there, node);
        self.mark_parent_impure(&here, target);
        let (place, target_place) = lock_places(node, Some(target));
        let flags = RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(&here.dir, from.name, &there.dir, to.name, flags)?;
        let mut places = [
            (Some(place), node, from, to),
            (target_place, target, to, from),
        ];
        for (place, node, old, new) in &mut places {
            if let Some(place) = place
                && place.is_at(old.parent, old.name)
            {
                drop(place.set_parent(Some(new.parent.clone())));
                place.name = Name::from(new.name);
                self.nodes
                    .moved(node.id, NameIn::new(new.parent, &place.name));
            }
        }
        drop(places);
        self.list_moved(to, node, locks)?;
        self.list_moved(from, target, locks)
    }

    /// Makes a directory opaque if it could otherwise show a lower one at its new name.
    fn make_opaque_for(
        &self,
        upper_parent: &UpperParent<'_>,
        name: &OsStr,
        node: &Node,
        new_names: &Names,
        new_name: &OsStr,
    ) -> Result<()> {
        // One that shows lower directories has a redirect, which leads past those of the new name.
        let applies = node.kind.is_dir() && !node.shows_lowers();
        if !applies || new_names.lowers.is_empty() {
            return Ok(());
        }
        let at = At::Name(upper_parent.dir.as_fd(), name.as_bytes());
        match upper_parent.upper.hide_below(at) {
            // As the kernel does, so that what is put in a lower layer some day does not show. It is not
            // needed now if there is nothing.
            Err(error) if self.lower_positive(new_names, new_name)? => Err(match error {
                // Without the mark it can only be copied, name by name.
                Errno::OPNOTSUPP => Errno::XDEV,
                error => error,
            }),
            _ => Ok(()),
        }
    }

    /// Marks a directory to which something comes that has records of its own.
    fn mark_parent_impure(&self, upper_parent: &UpperParent<'_>, node: &Node) {
        if node.shows_lowers() || node.is_metacopy() || self.nodes.has_origin(node.id) {
            self.mark_impure(
                upper_parent.upper,
                upper_parent.parent,
                upper_parent.dir.as_fd(),
            );
        }
    }

    /// Tells the listing of a directory that a node has come to it.
    fn list_moved(&self, end: End<'_>, node: &Node, locks: &mut NameLocks<'_>) -> Result<()> {
        if let Some(listing) = &mut locks.of(end.parent)?.listing {
            let known = match self.nodes.number(node.id) {
                Some(number) => EntryInfo::Object(number, node.kind),
                None => EntryInfo::Unresolved,
            };
            listing.insert(&Name::from(end.name), known);
        }
        Ok(())
    }
}

//! Rename.
//!
//! Both files are in the upper layer when they are moved. A name that a lower layer has, too, gets a
//! whiteout in the same rename; a directory that comes to lie over one of a lower layer is made
//! opaque before. A directory that shows lower ones is tied to its name: it is given a redirect, or
//! where redirects are not made, everything it shows is copied up first, so that it shows none
//! ([`cut_off`](crate::ops::detach)). The kernel's overlay fails with `XDEV` then, and mv(1) copies.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::RenameFlags;

use crate::Overlay;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Real;
use crate::inode::locks::{NameLocks, lock_names};
use crate::inode::node::Node;
use crate::ops::hold::Held;
use crate::ops::lookup::check_name;
use crate::ops::replace::End;
use crate::types::{Change, Extent, Patience};

/// How often a rename starts again because the names changed before they were locked.
const MAX_TRIES: usize = 1000;

/// How far a rename got with the locks it holds.
enum Step<'o> {
    Done,
    /// These must be copied up first, which is not done under the locks.
    CopyUp {
        nodes: Vec<Arc<Node>>,
        /// Keeps them known until then.
        _held: (Held<'o>, Option<Held<'o>>),
    },
    /// The names in this directory, which is to be replaced, must be locked too.
    Lock(Held<'o>),
    /// All that this shows must be copied up, since it cannot be given a redirect.
    CutOff(Held<'o>),
}

impl Overlay {
    /// Moves a name to another, in the same directory or not (renameat2(2)). `NOREPLACE` and
    /// `EXCHANGE` are possible, `WHITEOUT` is not, as in the kernel's overlay.
    ///
    /// # Errors
    /// `AGAIN` if more patience is needed; otherwise those of renameat2(2) and of copying up.
    pub fn rename(
        &self,
        (parent, name): (u64, &OsStr),
        (new_parent, new_name): (u64, &OsStr),
        flags: RenameFlags,
        patience: Patience,
    ) -> Result<()> {
        check_name(name)?;
        check_name(new_name)?;
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(decided(Errno::INVAL));
        }
        if self.upper()?.layer.is_archive_name(new_name) {
            return Err(decided(Errno::INVAL));
        }
        let (parent, new_parent) = (&self.node(parent)?, &self.node(new_parent)?);
        let from = End { parent, name };
        let to = End {
            parent: new_parent,
            name: new_name,
        };
        let mut victim: Option<Held<'_>> = None;
        for _ in 0..MAX_TRIES {
            let step = {
                let elsewhere = !Arc::ptr_eq(parent, new_parent);
                let _moving = elsewhere.then(|| self.rename.lock());
                let mut dirs = vec![parent, new_parent];
                dirs.extend(victim.as_ref().map(|held| &held.node));
                let mut locks = lock_names(&dirs)?;
                let locked = victim.as_ref().map(|held| &held.node);
                self.rename_locked(from, to, flags, &mut locks, locked)?
            };
            match step {
                Step::Done => return Ok(()),
                Step::Lock(held) => victim = Some(held),
                Step::CopyUp { nodes, _held } => {
                    let slow =
                        |node: &Arc<Node>| self.is_slow_to_change(node.id, Change::Attributes);
                    if patience == Patience::Little && nodes.iter().any(slow) {
                        return Err(Errno::AGAIN);
                    }
                    for node in &nodes {
                        self.copy_up(node, Extent::None)?;
                    }
                }
                Step::CutOff(held) => {
                    if patience == Patience::Little {
                        return Err(Errno::AGAIN);
                    }
                    self.cut_off(&held.node)?;
                }
            }
        }
        Err(Errno::BUSY)
    }

    fn rename_locked<'o>(
        &'o self,
        from: End<'_>,
        to: End<'_>,
        flags: RenameFlags,
        locks: &mut NameLocks<'_>,
        locked: Option<&Arc<Node>>,
    ) -> Result<Step<'o>> {
        let held = self.hold_locked(from.parent, locks.of(from.parent)?, from.name)?;
        let target = match self.hold_locked(to.parent, locks.of(to.parent)?, to.name) {
            Ok(held) => Some(held),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        let (node, target_node) = (&held.node, target.as_ref().map(|held| &held.node));
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        check_ends(flags, target_node)?;
        if target_node.is_some_and(|target| Arc::ptr_eq(target, node)) {
            // Two names of one file, or one name: there is nothing to do.
            return Ok(Step::Done);
        }
        self.check_protection(from, to, node, target_node)?;
        check_kinds(from, to, node, target_node, exchange)?;

        // Nothing is copied up for what cannot be done.
        let target = match target {
            Some(target) if !exchange && target.node.kind.is_dir() => {
                if !locked.is_some_and(|locked| Arc::ptr_eq(locked, &target.node)) {
                    return Ok(Step::Lock(target));
                }
                if !self.is_empty(&target.node, locks.of(&target.node)?)? {
                    return Err(Errno::NOTEMPTY);
                }
                Some(target)
            }
            target => target,
        };
        let target_node = target.as_ref().map(|held| &held.node);

        let mut needed = vec![from.parent, to.parent, node];
        // One of several names of a lower file must be counted in the index before it goes.
        let is_counted = |target: &&Arc<Node>| exchange || self.is_counted(target);
        needed.extend(target_node.filter(is_counted));
        let lower = needed.into_iter().filter(|node| !node.in_upper());
        let nodes: Vec<_> = lower.cloned().collect();
        if !nodes.is_empty() {
            let _held = (held, target);
            return Ok(Step::CopyUp { nodes, _held });
        }
        // A metacopy with several names has one redirect for all of them.
        let absolute = |node: &Node| {
            !Arc::ptr_eq(from.parent, to.parent) || matches!(node.place.read().real, Real::Index(_))
        };
        let upper = self.upper()?;
        let here = self.site(upper, from.parent, locks.of(from.parent)?)?;
        let there = self.site(upper, to.parent, locks.of(to.parent)?)?;
        let at = At::Name(here.dir.as_fd(), from.name.as_bytes());
        self.link_up(&here, locks.of(from.parent)?, from.name, node)?;
        if !self.tie(upper, at, node, absolute(node))? {
            return Ok(Step::CutOff(held));
        }
        let at = At::Name(there.dir.as_fd(), to.name.as_bytes());
        let target_tied = match &target {
            Some(target) if exchange => {
                self.link_up(&there, locks.of(to.parent)?, to.name, &target.node)?;
                self.tie(upper, at, &target.node, absolute(&target.node))?
            }
            _ => true,
        };
        let target = match target {
            Some(target) if !target_tied => return Ok(Step::CutOff(target)),
            target => target,
        };
        match (target, exchange) {
            (Some(target), true) => self.exchange(from, to, node, &target.node, locks)?,
            (Some(target), false) if target.node.kind.is_dir() => {
                self.replace(from, to, node, Some(&target.node), locks)?;
                let names = locks.of(&target.node)?;
                names.removed = true;
                names.listing = None;
            }
            (target, _) => {
                let target = target.as_ref().map(|held| &held.node);
                self.replace(from, to, node, target, locks)?;
            }
        }
        Ok(Step::Done)
    }

    /// Refuses to move what is protected, or out of a protected directory, or over something protected.
    fn check_protection(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Node,
        target: Option<&Arc<Node>>,
    ) -> Result<()> {
        self.check_may_leave(from.parent, node)?;
        match target {
            Some(target) => self.check_may_leave(to.parent, target),
            None => self.check_may_add(to.parent),
        }
    }

    /// Whether a node is a lower file with several names, of which the index keeps count.
    fn is_counted(&self, node: &Arc<Node>) -> bool {
        self.index().is_some()
            && !node.kind.is_dir()
            && !node.in_upper()
            && self.attr(node).is_ok_and(|attr| attr.nlink > 1)
    }
}

fn check_ends(flags: RenameFlags, target: Option<&Arc<Node>>) -> Result<()> {
    if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
        return Err(Errno::EXIST);
    }
    if flags.contains(RenameFlags::EXCHANGE) && target.is_none() {
        return Err(Errno::NOENT);
    }
    Ok(())
}

/// Refuses what cannot be put in each other's place.
fn check_kinds(
    from: End<'_>,
    to: End<'_>,
    node: &Arc<Node>,
    target: Option<&Arc<Node>>,
    exchange: bool,
) -> Result<()> {
    if node.kind.is_dir() && is_or_is_below(to.parent, node) {
        return Err(decided(Errno::INVAL));
    }
    if let Some(target) = target {
        let from_below = target.kind.is_dir() && is_or_is_below(from.parent, target);
        match (node.kind.is_dir(), target.kind.is_dir()) {
            _ if exchange && from_below => return Err(decided(Errno::INVAL)),
            _ if exchange => {}
            (true, false) => return Err(Errno::NOTDIR),
            (false, true) => return Err(Errno::ISDIR),
            _ if from_below => return Err(Errno::NOTEMPTY),
            _ => {}
        }
    }
    Ok(())
}

fn is_or_is_below(node: &Arc<Node>, ancestor: &Arc<Node>) -> bool {
    let mut next = Some(node.clone());
    while let Some(node) = next {
        if Arc::ptr_eq(&node, ancestor) {
            return true;
        }
        next = node.place.read().parent.clone();
    }
    false
}

//! Rename.
//!
//! Both files are in the upper layer when they are moved. A name that a lower layer has, too, gets a
//! whiteout in the same rename; a directory that comes to lie over one of a lower layer is made
//! opaque before. A directory that shows lower ones is tied to its name: it is given a redirect, or
//! where redirects are not made, everything it shows is copied up first, so that it shows none
//! ([`detach_from_lower`](crate::ops::detach)). The kernel's overlay fails with `XDEV` then, and mv(1) copies.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::RenameFlags;

use crate::Overlay;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Backing;
use crate::inode::locks::{NameLocks, lock_names};
use crate::inode::node::Node;
use crate::ops::hold::LookupGuard;
use crate::ops::lookup::check_name;
use crate::ops::replace::End;
use crate::ops::upper_parent::UpperParent;
use crate::types::{Change, Extent, MayBlock};

/// How often a rename starts again because the names changed before they were locked.
const MAX_TRIES: usize = 1000;

/// How far a rename got with the locks it holds.
enum Step<'o> {
    Done,
    /// These must be copied up first, which is not done under the locks.
    CopyUp {
        nodes: Vec<Arc<Node>>,
        /// Keeps them known until then.
        _held: (LookupGuard<'o>, Option<LookupGuard<'o>>),
    },
    /// The names in this directory, which is to be replaced, must be locked too.
    Lock(LookupGuard<'o>),
    /// All that this shows must be copied up, since it cannot be given a redirect.
    Detach(LookupGuard<'o>),
}

impl Overlay {
    /// Moves a name to another, in the same directory or not (renameat2(2)). `NOREPLACE` and
    /// `EXCHANGE` are possible, `WHITEOUT` is not, as in the kernel's overlay.
    ///
    /// # Errors
    /// `AGAIN` if it would block and may not; otherwise those of renameat2(2) and of copying up.
    pub fn rename(
        &self,
        (parent, name): (u64, &OsStr),
        (new_parent, new_name): (u64, &OsStr),
        flags: RenameFlags,
        may_block: MayBlock,
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
        let mut victim: Option<LookupGuard<'_>> = None;
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
                    if may_block == MayBlock::No && nodes.iter().any(slow) {
                        return Err(Errno::AGAIN);
                    }
                    for node in &nodes {
                        self.copy_up(node, Extent::None)?;
                    }
                }
                Step::Detach(held) => {
                    if may_block == MayBlock::No {
                        return Err(Errno::AGAIN);
                    }
                    self.detach_from_lower(&held.node)?;
                }
            }
        }
        Err(Errno::BUSY)
    }

    /// Renames, or says what has to be done first without the locks.
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

        // All that can refuse comes before the first copy-up.
        let target = match target {
            Some(target)
                if !exchange
                    && target.node.kind.is_dir()
                    && self.needs_lock(&target.node, locked, locks)? =>
            {
                return Ok(Step::Lock(target));
            }
            target => target,
        };
        let target_node = target.as_ref().map(|held| &held.node);
        let nodes = self.still_lower(from, to, node, target_node, exchange);
        if !nodes.is_empty() {
            let _held = (held, target);
            return Ok(Step::CopyUp { nodes, _held });
        }

        // Then redirects: after the move, a name no longer leads to what lies below. If the move fails, the
        // redirect says what the old name says anyway.
        let upper = self.upper()?;
        let here = self.upper_parent(upper, from.parent, locks.of(from.parent)?)?;
        let there = self.upper_parent(upper, to.parent, locks.of(to.parent)?)?;
        let elsewhere = !Arc::ptr_eq(from.parent, to.parent);
        if !self.keep_lower_link(&here, from.name, node, elsewhere, locks)? {
            return Ok(Step::Detach(held));
        }
        let target = match target {
            Some(target)
                if exchange
                    && !self.keep_lower_link(
                        &there,
                        to.name,
                        &target.node,
                        elsewhere,
                        locks,
                    )? =>
            {
                return Ok(Step::Detach(target));
            }
            target => target,
        };

        // Nothing is in the way any more.
        let target = target.as_ref().map(|held| &held.node);
        self.move_names(from, to, node, target, exchange, locks)?;
        Ok(Step::Done)
    }

    /// Moves the name, or exchanges the two. The directory that was replaced takes no names any more.
    fn move_names(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Arc<Node>,
        target: Option<&Arc<Node>>,
        exchange: bool,
        locks: &mut NameLocks<'_>,
    ) -> Result<()> {
        if let Some(target) = target
            && exchange
        {
            return self.exchange(from, to, node, target, locks);
        }
        self.replace(from, to, node, target, locks)?;
        if let Some(target) = target.filter(|target| target.kind.is_dir()) {
            let names = locks.of(target)?;
            names.removed = true;
            names.listing = None;
        }
        Ok(())
    }

    /// Whether the names in a directory that is to be replaced must be locked first.
    ///
    /// # Errors
    /// `NOTEMPTY` if they are locked, and there are some.
    fn needs_lock(
        &self,
        target: &Arc<Node>,
        locked: Option<&Arc<Node>>,
        locks: &mut NameLocks<'_>,
    ) -> Result<bool> {
        if !locked.is_some_and(|locked| Arc::ptr_eq(locked, target)) {
            return Ok(true);
        }
        if self.is_empty(target, locks.of(target)?)? {
            Ok(false)
        } else {
            Err(Errno::NOTEMPTY)
        }
    }

    /// The nodes of a rename that must be copied up before it.
    fn still_lower(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Arc<Node>,
        target: Option<&Arc<Node>>,
        exchange: bool,
    ) -> Vec<Arc<Node>> {
        let mut needed = vec![from.parent, to.parent, node];
        // One of several names of a lower file must be counted in the index before it goes.
        let is_counted = |target: &&Arc<Node>| exchange || self.is_counted(target);
        needed.extend(target.filter(is_counted));
        let lower = needed.into_iter().filter(|node| !node.in_upper());
        lower.cloned().collect()
    }

    /// Makes sure that a node finds what it shows of the layers below from its new name, in another directory if
    /// `elsewhere`. `false` if that cannot be.
    fn keep_lower_link(
        &self,
        parent: &UpperParent<'_>,
        name: &OsStr,
        node: &Arc<Node>,
        elsewhere: bool,
        locks: &mut NameLocks<'_>,
    ) -> Result<bool> {
        self.link_up(parent, locks.of(parent.parent)?, name, node)?;
        // A metacopy with several names has one redirect for all of them.
        let has_names = matches!(node.place.read().backing, Backing::Index(_));
        let at = At::Name(parent.dir.as_fd(), name.as_bytes());
        self.write_redirect(parent.upper, at, node, elsewhere || has_names)
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

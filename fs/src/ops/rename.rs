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
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use crate::Overlay;
use crate::disk::calls;
use crate::disk::fd_cache::Key;
use crate::disk::owner_mode;
use crate::error::{Errno, Result, decided};
use crate::inode::listing::Known;
use crate::inode::node::{NameLocks, Names, Node, Real, lock_names, lock_places};
use crate::inode::table::NameIn;
use crate::layer::lower::Name;
use crate::layer::publish::Aside;
use crate::layer::redirect::RedirectDir;
use crate::layer::whiteout::set_opaque;
use crate::ops::copy_up::{Change, Extent};
use crate::ops::create::{Ground, Site};
use crate::ops::lookup::check_name;
use crate::ops::remove::Held;
use crate::overlay::open::Upper;

/// How often a rename starts again because the names changed before they were locked.
const MAX_TRIES: usize = 1000;

/// How long a rename may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A few system calls. If data has to be copied up first, nothing is done.
    Little,
    /// As long as copying the file takes.
    Much,
}

/// A name in a directory: one end of a rename.
#[derive(Clone, Copy)]
struct End<'r> {
    parent: &'r Arc<Node>,
    name: &'r OsStr,
}

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

    /// Moves `node`; what is at the new name, if anything, goes.
    fn replace(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Arc<Node>,
        target: Option<&Arc<Node>>,
        locks: &mut NameLocks<'_>,
    ) -> Result<()> {
        let upper = self.upper()?;
        let here = self.site(upper, from.parent, locks.of(from.parent)?)?;
        let there = self.site(upper, to.parent, locks.of(to.parent)?)?;
        let leaves_whiteout = self.lower_positive(locks.of(from.parent)?, from.name)?;
        self.make_opaque_for(&here, from.name, node, locks.of(to.parent)?, to.name)?;
        self.announce(&there, node);
        // A file takes the place of whatever is there.
        let ground = match node.kind.is_dir() {
            true => self.ground_above(&there, to.name)?,
            false => Ground::Bare,
        };
        let (mut place, target_place) = lock_places(node, target.map(|target| &**target));
        let leaving = match (target, target_place) {
            (Some(target), Some(place)) => {
                Some(self.prepare_to_leave(target, place, to.parent, to.name, &there)?)
            }
            _ => None,
        };
        // After that, since who has the directory open is to keep it, and not what takes its place.
        let mut aside = None;
        if let Some(target) = target.filter(|target| target.kind.is_dir())
            && ground == Ground::Taken
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
                over_whiteout: ground == Ground::Whiteout && node.kind.is_dir(),
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
            match Arc::ptr_eq(from.parent, to.parent) {
                true => listing.rename(from.name, &Name::from(to.name)),
                false => listing.remove(from.name),
            }
        }
        self.list_moved(to, node, locks)
    }

    /// Makes two names change places.
    fn exchange(
        &self,
        from: End<'_>,
        to: End<'_>,
        node: &Arc<Node>,
        target: &Arc<Node>,
        locks: &mut NameLocks<'_>,
    ) -> Result<()> {
        let upper = self.upper()?;
        let here = self.site(upper, from.parent, locks.of(from.parent)?)?;
        let there = self.site(upper, to.parent, locks.of(to.parent)?)?;
        self.make_opaque_for(&here, from.name, node, locks.of(to.parent)?, to.name)?;
        self.make_opaque_for(&there, to.name, target, locks.of(from.parent)?, from.name)?;
        self.announce(&there, node);
        self.announce(&here, target);
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
        site: &Site<'_>,
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
        let at = At::Name(site.dir.as_fd(), name.as_bytes());
        match site.upper.hide_below(at) {
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

    /// Makes what a node is tied to below be found from another name, by a redirect. `false` if that
    /// cannot be.
    pub(crate) fn tie(
        &self,
        upper: &Upper,
        at: At<'_>,
        node: &Arc<Node>,
        absolute: bool,
    ) -> Result<bool> {
        if !node.shows_lowers() && !node.is_metacopy() {
            return Ok(true);
        }
        if self.redirect_dir != RedirectDir::On || node.place.read().parent.is_none() {
            return Ok(false);
        }
        let Some(redirect) = self.redirect_for(node, absolute) else {
            return Ok(true);
        };
        match redirect.write(at, upper.namespace) {
            Ok(()) => {
                node.place.write().below.set_redirect(Some(redirect));
                Ok(true)
            }
            Err(Errno::NAMETOOLONG | Errno::OPNOTSUPP | Errno::PERM) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Marks a directory to which something comes that has records of its own.
    fn announce(&self, site: &Site<'_>, node: &Node) {
        if node.shows_lowers() || node.is_metacopy() || self.nodes.has_origin(node.id) {
            self.make_impure(site.upper, site.parent, site.dir.as_fd());
        }
    }

    /// Puts an empty directory in the place of one that shows nothing but holds whiteouts, since
    /// rename(2) replaces no other. Returns the directory if it was moved aside instead.
    fn clear_whiteouts<'s>(
        &self,
        site: &'s Site<'_>,
        name: &'s OsStr,
        victim: &Names,
    ) -> Result<Option<Aside<'s>>> {
        if victim.lowers.is_empty() && is_bare(site, name)? {
            return Ok(None);
        }
        let work = &site.upper.work;
        let at = At::Name(site.dir.as_fd(), name.as_bytes());
        if work.reads_files() {
            match set_opaque(at, site.upper.namespace) {
                // Nothing but what is in it says what it hides.
                Err(Errno::OPNOTSUPP) => {
                    return work.set_aside((site.dir.as_fd(), name)).map(Some);
                }
                other => other?,
            }
        }
        if !work.moves().exchange {
            // It shows no more without them: it is opaque then.
            set_opaque_if_possible(at, site.upper)?;
            return empty(at).map(|()| None);
        }
        let staged = work.temp_name();
        rustix::fs::mkdirat(work.dir(), &staged, Mode::RWXU)?;
        let at = At::Name(work.dir(), staged.as_bytes());
        let exchanged = self.imitate(at, site, name).and_then(|()| {
            let (from, to) = ((work.dir(), &*staged), (site.dir.as_fd(), name));
            owner_mode::rename(from, to, RenameFlags::EXCHANGE)
        });
        work.discard(&staged);
        exchanged.map(|()| None)
    }

    /// Gives an empty directory owner and mode of another, and makes it hide what that one hid.
    fn imitate(&self, at: At<'_>, site: &Site<'_>, name: &OsStr) -> Result<()> {
        let stat = calls::stat(At::Name(site.dir.as_fd(), name.as_bytes()))?;
        calls::chown(at, Some(stat.stx_uid), Some(stat.stx_gid))?;
        calls::chmod(at, u32::from(stat.stx_mode) & 0o7777)?;
        // By the record alone: what is renamed over it must find it empty.
        set_opaque_if_possible(at, site.upper)
    }

    /// Tells the listing of a directory that a node has come to it.
    fn list_moved(&self, end: End<'_>, node: &Node, locks: &mut NameLocks<'_>) -> Result<()> {
        if let Some(listing) = &mut locks.of(end.parent)?.listing {
            let known = match self.nodes.number(node.id) {
                Some(number) => Known::Object(number, node.kind),
                None => Known::Unresolved,
            };
            listing.insert(&Name::from(end.name), known);
        }
        Ok(())
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
    here: &Site<'_>,
    name: &OsStr,
    there: &Site<'_>,
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
    let flags = match how.over_whiteout {
        true => RenameFlags::EXCHANGE,
        false => RenameFlags::empty(),
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

/// Marks a directory that is about to be replaced. Without attributes it hides nothing: no directory is moved there
/// over one that does, unless whiteouts may be files.
fn set_opaque_if_possible(at: At<'_>, upper: &Upper) -> Result<()> {
    match set_opaque(at, upper.namespace) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Removes all that is in a directory.
fn empty(at: At<'_>) -> Result<()> {
    let dir = calls::open(at, OFlags::RDONLY | OFlags::DIRECTORY)?;
    crate::disk::remove_tree::remove_below(dir.as_fd())
}

/// Whether a directory on disk holds nothing at all.
fn is_bare(site: &Site<'_>, name: &OsStr) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = calls::open(At::Name(site.dir.as_fd(), name.as_bytes()), flags)?;
    let mut bare = true;
    crate::disk::remove_tree::for_each_entry(dir.as_fd(), |_, _, _| {
        bare = false;
        Ok(())
    })?;
    Ok(bare)
}

//! Copy-up: making a file of a lower layer a file of the upper one.
//!
//! The copy is made in the work directory, complete with data, owner, mode, attributes and times,
//! made durable (or sure to be so together with its name, see [`copy_data`](crate::disk::copy_data)), and published by
//! one rename. Directories on the way are copied up first, from the
//! top. While data is copied only the node's own copy-up lock is held: its readers, and everybody
//! else, go on with the lower file; then the place of the node changes to the upper layer under its
//! locks, and from then on everybody uses the copy.
//!
//! A file that was removed while in use is copied up too when it is changed; its copy never gets a
//! name.
//!
//! With `metacopy`, a change of attributes brings the attributes alone. The copy has the size of the
//! file, no data, and the mark of a metacopy; reads go to the lower file until the first write, which
//! copies the data into place and then takes the mark away.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::Overlay;
use crate::disk::calls::{restore_times, stat_fd};
use crate::disk::fd_cache::Key;
use crate::disk::interrupt;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Real;
use crate::inode::listing::Known;
use crate::inode::node::Node;
use crate::layer::index::Index;
use crate::layer::upper::Upper;
use crate::ops::copy_stage::Copy;
use crate::types::{Extent, Name};

impl Overlay {
    /// Makes sure that a node's object is in the upper layer.
    ///
    /// # Errors
    /// `ROFS` without an upper layer, and whatever goes wrong in copying: `NOSPC`, `DQUOT`, `ACCESS`
    /// for a file that cannot be read.
    pub(super) fn copy_up(&self, node: &Arc<Node>, extent: Extent) -> Result<()> {
        let extent = match extent {
            // What is a metacopy from another time stays one.
            Extent::None if !node.in_upper() => self.least_extent(),
            extent => extent,
        };
        if node.is_copied(extent) {
            return Ok(());
        }
        let upper = self.upper()?;
        // The directories above first. A list, not recursion: a tree may be deeper than a stack.
        let mut chain = vec![node.clone()];
        while let Some(parent) = chain
            .last()
            .and_then(|node| node.place.read().parent.clone())
        {
            if parent.in_upper() {
                break;
            }
            chain.push(parent);
        }
        for node in chain.iter().rev() {
            self.copy_up_one(upper, node, extent)?;
        }
        Ok(())
    }

    fn copy_up_one(&self, upper: &Upper, node: &Arc<Node>, extent: Extent) -> Result<()> {
        let _copying = loop {
            // Others may be copying it, which takes as long.
            match node.copy_up.try_lock_for(interrupt::INTERVAL) {
                Some(copying) => break copying,
                None => interrupt::check()?,
            }
        };
        if node.is_copied(extent) {
            return Ok(());
        }
        if node.in_upper() {
            return self.complete(upper, node, extent);
        }
        let source = self.open_source(node)?;
        let copy = self.stage_copy(upper, node.kind, source, extent)?;
        let published = self.publish(upper, node, &copy);
        if published.is_err() {
            upper.work.discard(&copy.name);
        }
        let parent = published?;
        // The copy has another ctime, and perhaps another number, link count and size on disk. A new
        // name changes the ctime of the directory. The kernel asked for a change of neither.
        self.changed_unasked(node.id);
        if let Some(parent) = parent {
            self.changed_unasked(parent.id);
        }
        Ok(())
    }

    /// Gives the copy its name, and the node its new place. Returns the directory that has the name;
    /// `None` for a file that was removed.
    fn publish(&self, upper: &Upper, node: &Arc<Node>, copy: &Copy) -> Result<Option<Arc<Node>>> {
        loop {
            let Some(parent) = node.place.read().parent.clone() else {
                if self.adopt_nameless(upper, node, copy) {
                    return Ok(None);
                }
                continue;
            };
            let mut names = parent.dir()?.names.write();
            let dir = self.upper_dir(&parent)?;
            let mut place = node.place.write();
            if !place.is_in(&parent) {
                // It was moved or removed while its data was copied.
                continue;
            }
            // The directory does not change by showing the same file from another layer.
            let dir_stat = stat_fd(dir.as_fd())?;
            if copy.has_origin || copy.data.is_some() {
                self.make_impure(upper, &parent, dir.as_fd());
            }
            let indexed = self.enter_index(upper, copy)?;
            let renamed = upper.work.publish(&copy.name, (dir.as_fd(), &place.name));
            let renamed = match renamed {
                // The name is that of another file by now.
                Err(Errno::EXIST) if self.lowers_change => Err(decided(Errno::STALE)),
                renamed => renamed,
            };
            if u32::from(dir_stat.stx_mode) & 0o300 != 0o300 {
                // A caller may have seen the mode that the directory had meanwhile.
                self.changed_unasked(parent.id);
            }
            if let Some((index, entry, links)) = indexed {
                if renamed.is_err() {
                    index.remove(entry)?;
                } else if let Err(errno) = index.count_down(entry, links) {
                    log::warn!("a file counts a name too many: {errno}");
                }
            }
            renamed?;
            restore_times(dir.as_fd(), &dir_stat);
            if let Some(listing) = &mut names.listing {
                listing.raise(&place.name);
            }
            if !node.kind.is_dir() {
                self.nodes.rebind(node, copy.object, copy.has_origin);
                if let Some(listing) = &mut names.listing
                    && let Some(number) = self.nodes.number(node.id)
                {
                    listing.insert(&place.name, Known::Object(number, node.kind));
                }
            }
            place.real = match indexed {
                Some((_, entry, _)) => Real::Index(Arc::new(entry.clone())),
                None => Real::Upper,
            };
            place.below.set_data(copy.data.clone());
            self.fds.remove(Key::File(node.id));
            drop(place);
            drop(names);
            return Ok(Some(parent));
        }
    }

    /// Puts a copy into the index, if it belongs there. Without that it would be a file of its own, and a
    /// change of one name would not be one of the others.
    ///
    /// # Errors
    /// Those of link(2) and setxattr(2): in memory and under a quota a link takes space, too.
    fn enter_index<'c>(
        &'c self,
        upper: &'c Upper,
        copy: &'c Copy,
    ) -> Result<Option<(&'c Index, &'c Name, u32)>> {
        let (Some(index), Some((entry, links))) = (&upper.index, &copy.indexed) else {
            return Ok(None);
        };
        index.insert(upper.work.dir(), &copy.name, entry, *links)?;
        Ok(Some((index, entry, *links)))
    }

    /// Makes the copy the object of a node that has no name any more. `false` if it has one again.
    fn adopt_nameless(&self, upper: &Upper, node: &Arc<Node>, copy: &Copy) -> bool {
        let mut place = node.place.write();
        if place.parent.is_some() {
            return false;
        }
        upper.work.discard(&copy.name);
        self.nodes.rebind(node, copy.object, copy.has_origin);
        place.real = Real::Orphan(self.removed.keep(copy.fd.clone()));
        place.below.set_data(copy.data.clone());
        self.fds.remove(Key::File(node.id));
        true
    }
}

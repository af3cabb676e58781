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

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::Overlay;
use crate::disk::calls::{restore_times, stat_fd};
use crate::disk::fd_cache::Key;
use crate::disk::interrupt;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Backing;
use crate::inode::dir::Names;
use crate::inode::listing::EntryInfo;
use crate::inode::node::{Node, Place};
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
            let entry = self.name_copy(upper, (&parent, dir.as_fd()), &place.name, copy)?;
            self.show_copy(node, &mut names, &mut place, copy, entry);
            drop(place);
            drop(names);
            return Ok(Some(parent));
        }
    }

    /// Gives a copy its name in the upper layer, and its entry in the index, which is returned.
    ///
    /// The order keeps a crash at any point harmless. The directory is marked impure first, since without the mark
    /// no lookup reads the origin of the copy. The entry of the index comes before the name, since a copy with
    /// a name alone would be parted from its other names. The link count is corrected last: until then it is too
    /// high, which lets go of no file.
    fn name_copy<'c>(
        &'c self,
        upper: &'c Upper,
        (parent, dir): (&Arc<Node>, BorrowedFd<'_>),
        name: &Name,
        copy: &'c Copy,
    ) -> Result<Option<&'c Name>> {
        // The directory does not change by showing the same file from another layer.
        let dir_stat = stat_fd(dir)?;
        if copy.has_origin || copy.data.is_some() {
            self.mark_impure(upper, parent, dir);
        }
        let indexed = self.enter_index(upper, copy)?;
        let renamed = match upper.work.publish(&copy.name, (dir, name)) {
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
                log::warn!("cannot update overlay.nlink; st_nlink will be one too high: {errno}");
            }
        }
        renamed?;
        restore_times(dir, &dir_stat);
        Ok(indexed.map(|(_, entry, _)| entry))
    }

    /// Makes a node show its copy, which has its name. The caller holds the names of the directory and the place.
    fn show_copy(
        &self,
        node: &Arc<Node>,
        names: &mut Names,
        place: &mut Place,
        copy: &Copy,
        entry: Option<&Name>,
    ) {
        if let Some(listing) = &mut names.listing {
            listing.raise(&place.name);
        }
        if !node.kind.is_dir() {
            // Before the listing, which takes the number that the node has from now on.
            self.nodes.rebind(node, copy.object, copy.has_origin);
            if let Some(listing) = &mut names.listing
                && let Some(number) = self.nodes.number(node.id)
            {
                listing.insert(&place.name, EntryInfo::Object(number, node.kind));
            }
        }
        place.backing = match entry {
            Some(entry) => Backing::Index(Arc::new(entry.clone())),
            None => Backing::Upper,
        };
        place.lower_link.set_data(copy.data.clone());
        // Under the place lock: a thread that opens the file after this finds the copy.
        self.fds.remove(Key::File(node.id));
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
        place.backing = Backing::Orphan(self.unlinked.keep(copy.fd.clone()));
        place.lower_link.set_data(copy.data.clone());
        self.fds.remove(Key::File(node.id));
        true
    }
}

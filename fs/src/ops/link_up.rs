//! Names of the upper layer for a file in the index.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;

use crate::Overlay;
use crate::disk::calls::{restore_times, stat_fd, stat_name};
use crate::error::Result;
use crate::inode::backing::Backing;
use crate::inode::dir::Names;
use crate::inode::node::Node;
use crate::layer::new_object;
use crate::ops::upper_parent::UpperParent;

impl Overlay {
    /// Gives a file in the index, of which this is a lower name, the name in the upper layer.
    ///
    /// `names` are those of the directory, locked.
    pub(super) fn link_up(
        &self,
        upper_parent: &UpperParent<'_>,
        names: &mut Names,
        name: &OsStr,
        node: &Node,
    ) -> Result<()> {
        let (Some(index), Backing::Index(entry)) =
            (self.index(), node.place.read().backing.clone())
        else {
            return Ok(());
        };
        if self.upper_stat(upper_parent.dir.as_fd(), name)?.is_some() {
            return Ok(());
        }
        let before = stat_name(index.dir().as_fd(), entry.as_bytes())?;
        let links = index.links(&entry, &before, None)?;
        self.mark_impure(
            upper_parent.upper,
            upper_parent.parent,
            upper_parent.dir.as_fd(),
        );
        let times = stat_fd(upper_parent.dir.as_fd())?;
        rustix::fs::linkat(
            index.dir(),
            &**entry,
            &upper_parent.dir,
            name,
            AtFlags::empty(),
        )?;
        // The directory does not change by showing the same file from another layer.
        restore_times(upper_parent.dir.as_fd(), &times);
        let counted = index.count_down(&entry, links);
        match counted {
            Ok(()) => {
                if let Some(listing) = &mut names.listing {
                    listing.raise(name);
                }
            }
            Err(_) => new_object::undo(upper_parent.dir.as_fd(), name, node.kind),
        }
        // A move that was asked for elsewhere may bring the name here, and both get another ctime.
        self.changed_unasked(upper_parent.parent.id);
        self.changed_unasked(node.id);
        counted
    }
}

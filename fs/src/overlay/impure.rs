//! Impure directories: what is in them may have xattrs of the overlay.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use plyfs_format::names::Record;
use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::Overlay;
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result};
use crate::inode::backing::Backing;
use crate::inode::listing::Listing;
use crate::inode::node::Node;
use crate::layer::upper::Upper;

impl Overlay {
    /// Whether what is in the upper directory of a node may have records of its own.
    pub(crate) fn is_impure(&self, node: &Node, dir: BorrowedFd<'_>) -> bool {
        let Some(known) = node.dir.as_ref().map(|dir| &dir.impure) else {
            return false;
        };
        if let Some(impure) = known.get() {
            return impure;
        }
        let name = self.namespace.name(Record::Impure);
        let mut value = [0; 2];
        let read = xattr::get(At::Name(dir, b"."), name, &mut value);
        let impure = matches!(read, Ok(1) if value[0] == b'y');
        known.set(impure);
        impure
    }

    /// Marks an upper directory impure: what is in it may have xattrs of the overlay from now on.
    pub(crate) fn mark_impure(&self, upper: &Upper, node: &Node, dir: BorrowedFd<'_>) {
        if self.is_impure(node, dir) {
            return;
        }
        let name = upper.namespace.name(Record::Impure);
        let at = At::Fd(dir);
        let mark = || xattr::set(at, name, b"y", XattrFlags::empty());
        let marked = match mark() {
            Err(Errno::ACCESS) => {
                let marked = with_permission(at, mark);
                // A caller may have seen the mode that it had meanwhile.
                self.changed_unasked(node.id);
                marked
            }
            other => other,
        };
        match marked {
            Ok(()) => {}
            Err(Errno::NOSPC | Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(errno) => log::warn!("a directory is not marked impure: {errno}"),
        }
        if let Some(dir) = &node.dir {
            // Even if it could not be written: as long as this mount lasts it is known.
            dir.impure.set(true);
        }
    }

    /// Takes the mark from a directory that shows nothing any more, as the kernel's overlay does when it is
    /// listed.
    pub(crate) fn purify_if_empty(&self, node: &Arc<Node>) -> Result<()> {
        let dir = node.dir()?;
        if dir.impure.get() != Some(true) || dir.shows_lowers() {
            return Ok(());
        }
        // Nothing is made or moved in meanwhile.
        let names = dir.names.write();
        let is_empty = names.listing.as_ref().is_some_and(Listing::is_empty);
        if !is_empty || names.removed || !matches!(node.place.read().backing, Backing::Upper) {
            return Ok(());
        }
        let upper = self.upper_dir(node)?;
        match xattr::remove(At::Fd(upper.as_fd()), self.namespace.name(Record::Impure)) {
            Ok(()) | Err(Errno::NODATA) => dir.impure.set(false),
            Err(errno) => log::debug!("an empty directory stays marked impure: {errno}"),
        }
        Ok(())
    }
}

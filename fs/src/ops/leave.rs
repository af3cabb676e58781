//! A node that loses a name.
//!
//! A file that is removed while the kernel knows it stays usable: its node keeps a descriptor of the object, taken
//! before the name goes. An object in a lower layer needs none, since nothing ever removes it there.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use plyfs_sys::xattr::At;
use rustix::fs::OFlags;

use crate::Overlay;
use crate::disk::calls;
use crate::disk::fd_cache::Key;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Backing;
use crate::inode::node::{Node, Place};
use crate::ops::upper_parent::UpperParent;
use crate::types::{FileKind, Name};

/// A node that is about to lose its name, with its place locked.
pub(super) struct PendingUnlink<'n> {
    overlay: &'n Overlay,
    id: u64,
    place: RwLockWriteGuard<'n, Place>,
    /// Whether it is known by that name, and not by another of a hard link.
    is_known_here: bool,
    in_upper: bool,
    keep: Option<Arc<OwnedFd>>,
    /// Its name in the index, and how many names it shows; and whether the one it loses is lower.
    indexed: Option<(Name, u32)>,
    is_lower_name: bool,
}

impl PendingUnlink<'_> {
    pub(super) fn in_upper(&self) -> bool {
        self.in_upper
    }

    /// Makes the node lose the name, which is gone from the directory.
    pub(super) fn leave(mut self) {
        let is_last = match &self.indexed {
            None => self.is_known_here,
            Some((entry, links)) => {
                if let Err(errno) = self.uncount(entry, *links) {
                    log::warn!(
                        "cannot update overlay.nlink; st_nlink will be one too high: {errno}"
                    );
                }
                self.is_last(*links)
            }
        };
        if is_last && let Some(fd) = self.keep.take() {
            self.place.backing = Backing::Orphan(self.overlay.unlinked.keep(fd));
        }
        if is_last || self.is_known_here {
            // The parent is known besides: its id was just used.
            drop(self.place.set_parent(None));
        }
    }

    /// Whether an indexed file has no name after this one, of so many.
    fn is_last(&self, links: u32) -> bool {
        links <= 1 && (self.is_known_here || self.place.parent.is_none())
    }

    /// Takes the name from the count of an indexed file, and the file from the index with its last.
    fn uncount(&self, entry: &Name, links: u32) -> Result<()> {
        let index = self.overlay.index().ok_or_else(|| decided(Errno::STALE))?;
        match links {
            // Names were added to the lower file meanwhile: it still has the one we know. The kernel has counted
            // down by itself, and would not link a file that has no name.
            0 | 1 if !self.is_last(links) => {
                self.overlay.changed_unasked(self.id);
                index.count_down(entry, 1)
            }
            0 | 1 => index.remove(entry),
            _ if self.is_lower_name => index.count_down(entry, links - 1),
            // The count is relative to what the file has on disk, which is one less now.
            _ => Ok(()),
        }
    }
}

impl Overlay {
    /// Takes a descriptor of a node's object, if it is known by this name or in the index. A hard link
    /// that is known by another name keeps that. `place` is the node's own.
    pub(super) fn prepare_to_leave<'n>(
        &'n self,
        node: &'n Node,
        place: RwLockWriteGuard<'n, Place>,
        parent: &Arc<Node>,
        name: &OsStr,
        upper_parent: &UpperParent<'_>,
    ) -> Result<PendingUnlink<'n>> {
        let is_known_here = place.is_at(parent, name);
        let mut leaving = PendingUnlink {
            overlay: self,
            id: node.id,
            is_known_here,
            in_upper: true,
            keep: None,
            indexed: None,
            is_lower_name: false,
            place,
        };
        match &leaving.place.backing {
            Backing::Index(entry) => {
                let index = self.index().ok_or_else(|| decided(Errno::STALE))?;
                let entry = Name::clone(entry);
                let fd = self.open_to_keep(index.dir().as_fd(), &entry, node.kind)?;
                let stat = calls::stat_fd(fd.as_fd())?;
                leaving.indexed = Some((entry.clone(), index.links(&entry, &stat, None)?));
                leaving.keep = Some(Arc::new(fd));
                let above = self.upper_stat(upper_parent.dir.as_fd(), name)?;
                leaving.is_lower_name = above.is_none();
            }
            Backing::Upper if is_known_here => {
                leaving.keep = Some(match self.fds.get(Key::File(node.id)) {
                    Some(handle) if leaving.place.lower_link.data().is_none() => handle.fd,
                    _ => Arc::new(self.open_to_keep(upper_parent.dir.as_fd(), name, node.kind)?),
                });
            }
            Backing::Lower(_) if is_known_here => leaving.in_upper = false,
            _ => {}
        }
        Ok(leaving)
    }

    fn open_to_keep(&self, dir: BorrowedFd<'_>, name: &OsStr, kind: FileKind) -> Result<OwnedFd> {
        let flags = match kind {
            FileKind::Directory => OFlags::PATH | OFlags::DIRECTORY,
            _ => OFlags::PATH,
        };
        self.fds
            .open(|| calls::open(At::Name(dir, name.as_bytes()), flags))
    }
}

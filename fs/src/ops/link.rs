//! Hard links.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::{AtFlags, OFlags};

use crate::Overlay;
use crate::disk::calls;
use crate::error::{Errno, Result, decided};
use crate::inode::listing::EntryInfo;
use crate::inode::node::Node;
use crate::layer::upper::Upper;
use crate::ops::lookup::check_name;
use crate::ops::over_whiteout::publish_over;
use crate::ops::upper_parent::NameState;
use crate::types::{Entry, Extent, FileKind, Name};

impl Overlay {
    /// Makes another name for a file that is no directory (link(2)).
    ///
    /// # Errors
    /// `PERM` for a directory, `NOENT` for a file without any name left, and as
    /// [`mknod`](Self::mknod).
    pub fn link(&self, id: u64, parent: u64, name: &OsStr) -> Result<Entry> {
        check_name(name)?;
        let upper = self.upper()?;
        let (node, parent) = (self.node(id)?, self.node(parent)?);
        if node.kind.is_dir() {
            return Err(Errno::PERM);
        }
        if upper.layer.is_archive_name(name) {
            return Err(decided(Errno::INVAL));
        }
        self.check_may_add(&parent)?;
        self.check_unprotected(&node)?;
        self.copy_up(&parent, Extent::Whole)?;
        self.copy_up(&node, Extent::None)?;
        if node.is_metacopy() && !self.write_redirect_for_all_names(upper, &node)? {
            self.copy_up(&node, Extent::Whole)?;
        }
        let mut names = parent.dir()?.names.write();
        let upper_parent = self.upper_parent(upper, &parent, &names)?;
        match self.name_state(&upper_parent, &names, name)? {
            NameState::Taken => return Err(Errno::EXIST),
            NameState::Bare => self.link_to(&node, upper_parent.dir.as_fd(), name)?,
            name_state => {
                let staged = upper.work.temp_name();
                self.link_to(&node, upper.work.dir(), &staged)?;
                publish_over(&upper_parent, &staged, name, FileKind::Regular, name_state)?;
            }
        }
        if self.nodes.has_origin(node.id) || node.is_metacopy() {
            self.mark_impure(upper, &parent, upper_parent.dir.as_fd());
        }
        if let Some(listing) = &mut names.listing {
            listing.insert(&Name::from(name), EntryInfo::Unresolved);
        }
        // By its records, which say that it is the same file.
        let (node, entry) = self.lookup_locked(&parent, &names, name)?;
        if let Some(listing) = &mut names.listing
            && let Some(number) = self.nodes.number(node.id)
        {
            listing.insert(&Name::from(name), EntryInfo::Object(number, node.kind));
        }
        Ok(entry)
    }

    /// Makes the data of a metacopy be found from whatever name it is given.
    fn write_redirect_for_all_names(&self, upper: &Upper, node: &Arc<Node>) -> Result<bool> {
        let object = self.locate(node)?;
        let fd = self.fds.open(|| calls::open(object.at(), OFlags::PATH))?;
        drop(object);
        self.write_redirect(upper, At::Fd(fd.as_fd()), node, true)
    }

    /// linkat(2) of a node's object.
    fn link_to(&self, node: &Node, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let object = self.locate(node)?;
        match object.at() {
            At::Name(from, old) => rustix::fs::linkat(from, old, dir, name, AtFlags::empty()),
            At::Fd(fd) => {
                let path = calls::proc_path(fd);
                let from = rustix::fs::CWD;
                rustix::fs::linkat(from, path, dir, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }
}

//! Making a new directory hide what the layers below show under its name.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::At;
use rustix::fs::OFlags;

use crate::Overlay;
use crate::config::RedirectDir;
use crate::disk::calls;
use crate::disk::dirents::for_each_entry;
use crate::error::{Errno, Result};
use crate::inode::dir::Names;
use crate::inode::listing::FirstLayer;
use crate::ops::upper_parent::UpperParent;
use crate::types::Name;

impl Overlay {
    /// Makes a directory that is to have this name hide what the layers below show there. Where the file system has
    /// no attributes, every name there gets a whiteout in the directory.
    ///
    /// Returns whether it did so: the directory is merged with those below then.
    ///
    /// # Errors
    /// Those of setxattr(2), and of listing and making whiteouts.
    pub(super) fn hide_lower(
        &self,
        upper_parent: &UpperParent<'_>,
        at: At<'_>,
        names: &Names,
        name: &OsStr,
    ) -> Result<bool> {
        match upper_parent.upper.hide_below(at) {
            Err(Errno::OPNOTSUPP) => {}
            other => return other.map(|()| false),
        }
        let below = self.lookup_layers(
            upper_parent.parent,
            names,
            &Name::from(name),
            FirstLayer::Lower(0),
        )?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.fds.open(|| calls::open(at, flags))?;
        let mut merged = false;
        for lower in below.iter().flat_map(|found| &found.lowers) {
            merged = true;
            let lower = lower.open(&self.lowers, &self.fds)?;
            let lower = self
                .fds
                .open(|| calls::open(At::Fd(lower.as_fd()), flags))?;
            for_each_entry(lower.as_fd(), |name, _, _| {
                let name = OsStr::from_bytes(name.to_bytes());
                match upper_parent.upper.work.make_whiteout(dir.as_fd(), name) {
                    Err(Errno::EXIST) => Ok(()),
                    made => made,
                }
            })?;
        }
        Ok(merged)
    }

    /// Makes a new directory opaque, so that no lookup goes on to lower ones, where the kernel
    /// does: with xattrs that tie it to lower layers, these do not change. Returns whether it did.
    pub(super) fn hide_what_comes_below(
        &self,
        upper_parent: &UpperParent<'_>,
        name: &OsStr,
    ) -> bool {
        let tied = self.index().is_some() || self.metacopy || self.redirect_dir == RedirectDir::On;
        if !tied {
            return false;
        }
        let at = At::Name(upper_parent.dir.as_fd(), name.as_bytes());
        match upper_parent.upper.hide_below(at) {
            Ok(()) => {}
            // No directory of an upper layer without attributes is, and that is no fault of this one.
            Err(Errno::OPNOTSUPP) => return false,
            Err(errno) => log::debug!("a new directory is not opaque: {errno}"),
        }
        true
    }
}

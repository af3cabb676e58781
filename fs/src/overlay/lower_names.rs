//! What the lower layers show under a name.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::At;

use crate::Overlay;
use crate::disk::calls::{stat_name, stat_of_absent};
use crate::error::Result;
use crate::inode::dir::Names;
use crate::inode::listing::Source;

impl Overlay {
    /// Whether the lower directories of a directory, whose names the caller has locked, show something
    /// under a name, which a whiteout then has to hide.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(crate) fn lower_positive(&self, names: &Names, name: &OsStr) -> Result<bool> {
        match self.listing_of(names).map(|listing| listing.source(name)) {
            Some(Source::Upper) => return Ok(false),
            Some(Source::Lower(_)) => return Ok(true),
            Some(Source::Unknown) | None => {}
        }
        for lower in &names.lowers {
            let dir = lower.open(&self.lowers, &self.fds)?;
            let layer = &self.lowers[usize::from(lower.layer)];
            let found = stat_of_absent(stat_name(dir.as_fd(), name.as_bytes()))?;
            if let Some(stat) = found {
                let at = At::Name(dir.as_fd(), name.as_bytes());
                return Ok(!self.hides(lower, at, &stat)?);
            }
            if layer.has_archive_whiteout(dir.as_fd(), name)? {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

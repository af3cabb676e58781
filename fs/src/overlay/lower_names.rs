//! What the lower layers show under a name.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::config::XattrTrust;
use crate::disk::calls::{stat_name, stat_of_absent};
use crate::error::Result;
use crate::inode::dir::Names;
use crate::inode::listing::FirstLayer;
use crate::layer::lower_dir::LowerDir;
use crate::layer::whiteout::{is_attribute_whiteout, is_whiteout};

impl Overlay {
    /// Whether the lower directories of a directory, whose names the caller has locked, show something
    /// under a name, which a whiteout then has to hide.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(crate) fn lower_positive(&self, names: &Names, name: &OsStr) -> Result<bool> {
        match self.listing_of(names).map(|listing| listing.source(name)) {
            Some(FirstLayer::Upper) => return Ok(false),
            Some(FirstLayer::Lower(_)) => return Ok(true),
            Some(FirstLayer::Unknown) | None => {}
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

    /// Whether an object in a lower directory hides what is below it.
    pub(crate) fn hides(&self, dir: &LowerDir, at: At<'_>, stat: &Statx) -> Result<bool> {
        const S_IFREG: u32 = 0o100_000;
        const S_IFMT: u32 = 0o170_000;
        if is_whiteout(stat) {
            return Ok(true);
        }
        let may =
            dir.whiteouts && u32::from(stat.stx_mode) & S_IFMT == S_IFREG && stat.stx_size == 0;
        Ok(may && is_attribute_whiteout(at, self.namespace)?)
    }

    /// Whether the records of an overlay are looked for in a layer. Those in the lowest would say
    /// nothing: there is nothing below to hide or to lead to.
    pub(crate) fn reads_overlay_xattrs(&self, layer: u16) -> bool {
        let is_lowest = usize::from(layer) + 1 == self.roots.len() && self.data_roots.is_empty();
        !is_lowest && self.lowers[usize::from(layer)].marks != XattrTrust::None
    }
}

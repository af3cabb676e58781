//! What the index makes of a file that a search found.

use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::error::Result;
use crate::inode::backing::Backing;
use crate::layer::overlay_xattrs::FileXattrs;
use crate::ops::layer_entry::LayerEntry;

impl Overlay {
    /// Makes an upper file with this origin the one in the index, if it is that. If another is, this
    /// is a file of its own.
    pub(super) fn find_indexed(&self, found: &mut LayerEntry, origin: &[u8]) -> Result<()> {
        let Some(index) = self.index() else {
            return Ok(());
        };
        let Some(indexed) = index.find(origin)? else {
            return Ok(());
        };
        if self.object_of(&indexed.stat) == found.object {
            found.attr.nlink = index.links(&indexed.name, &indexed.stat, None)?;
            found.backing = Backing::Index(Arc::new(indexed.name));
        } else {
            found.number = found.object;
        }
        Ok(())
    }

    /// Makes a lower file with several names its copy in the index, if there is one. Returns whether
    /// that is a metacopy.
    pub(super) fn replace_by_indexed(
        &self,
        found: &mut LayerEntry,
        at: At<'_>,
        stat: &Statx,
    ) -> Result<bool> {
        let Some(index) = self.index() else {
            return Ok(false);
        };
        let Some(origin) = self.origins.record(at, stat) else {
            return Ok(false);
        };
        let Some(indexed) = index.find(&origin)? else {
            return Ok(false);
        };
        let copy = index.at(&indexed.name);
        let xattrs = FileXattrs::read(copy, self.namespace)?;
        let number = found.number;
        *found = LayerEntry {
            number,
            ..self.found_upper(copy, &indexed.stat)?
        };
        found.attr.nlink = index.links(&indexed.name, &indexed.stat, Some(stat.stx_nlink))?;
        found.backing = Backing::Index(Arc::new(indexed.name));
        Ok(xattrs.metacopy)
    }
}

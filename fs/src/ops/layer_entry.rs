//! What the layers hold under a name: the result of a search.

use std::sync::Arc;

use plyfs_format::protattr::Protection;
use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::config::override_stat_mode::OverrideStatMode;
use crate::error::Result;
use crate::inode::backing::Backing;
use crate::layer::lower_dir::{LowerDir, LowerFile};
use crate::layer::object_id::ObjectId;
use crate::layer::redirect::Redirect;
use crate::overlay::protection::protection_in_stat;
use crate::types::Attr;

/// What the layers hold under a name.
pub(super) struct LayerEntry {
    /// Where the topmost object is.
    pub(super) backing: Backing,
    pub(super) attr: Attr,
    /// What the flags of the topmost object forbid.
    pub(super) flags: Protection,
    /// The topmost object.
    pub(super) object: ObjectId,
    /// The object that the node's number comes from: the topmost lower directory of a merged one,
    /// which stays when it is copied up; the origin of a copy; otherwise the object itself.
    pub(super) number: ObjectId,
    /// How many names the topmost object has on disk.
    pub(super) links: u32,
    /// Whether it lies on a file system that is mounted inside a lower layer.
    pub(super) is_mounted_inside: bool,
    pub(super) lowers: Vec<Arc<LowerDir>>,
    /// Where an upper directory or metacopy goes on below, if not under its name.
    pub(super) redirect: Option<Redirect>,
    /// Where the data of a metacopy is.
    pub(super) data: Option<LowerFile>,
}

impl Overlay {
    /// What is under a name just made in the upper directory.
    pub(super) fn found_upper(&self, at: At<'_>, stat: &Statx) -> Result<LayerEntry> {
        self.found_alone(Backing::Upper, at, stat, self.upper()?.layer.records)
    }

    /// An object by itself, with nothing below it.
    pub(super) fn found_alone(
        &self,
        backing: Backing,
        at: At<'_>,
        stat: &Statx,
        records: OverrideStatMode,
    ) -> Result<LayerEntry> {
        let object = self.object_of(stat);
        Ok(LayerEntry {
            backing,
            attr: self.attr_of(at, stat, records)?,
            flags: protection_in_stat(stat),
            object,
            number: object,
            links: stat.stx_nlink,
            is_mounted_inside: false,
            lowers: Vec::new(),
            redirect: None,
            data: None,
        })
    }
}

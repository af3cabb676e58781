//! Layers that are met inside a layer.
//!
//! Layers that overlap are refused when the overlay is opened, as far as their paths show it. A directory that
//! is moved into another layer later, or was there by way of another mount, is met at a lookup. To go on
//! would show, and change, one directory in two places; the kernel's overlay fails with `ELOOP`, too.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use plyfs_sys::handle::{self, Handle};
use plyfs_sys::xattr::At;

use crate::disk::calls::{device_of, stat_fd};
use crate::layer::object_id::{InoMapper, ObjectId};

/// The root directories of an overlay's layers, with their handles where the file systems have some.
#[derive(Debug, Default)]
pub(crate) struct Traps(HashMap<ObjectId, Option<Handle>>);

impl Traps {
    pub(crate) fn new<'d>(
        dirs: impl Iterator<Item = BorrowedFd<'d>>,
        ino_mapper: &InoMapper,
    ) -> Self {
        let trap = |dir| {
            let stat = stat_fd(dir).ok()?;
            let object = ino_mapper.object(device_of(&stat), stat.stx_ino);
            Some((object, handle::of(At::Fd(dir)).ok()))
        };
        Self(dirs.filter_map(trap).collect())
    }

    /// Whether a directory found in a layer, `object` at `at`, is the root of a layer.
    pub(crate) fn has(&self, object: ObjectId, at: At<'_>) -> bool {
        match self.0.get(&object) {
            None => false,
            Some(None) => true,
            // A file system may show one number twice.
            Some(Some(known)) => handle::of(at).map_or(true, |handle| handle == *known),
        }
    }
}

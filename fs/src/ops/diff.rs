//! Which layer a file is from: for those who make a layer of the upper one.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};

use crate::Overlay;
use crate::disk::calls::stat_name;
use crate::disk::dirents::for_each_entry;
use crate::error::Result;
use crate::layer::whiteout::is_whiteout;
use crate::types::Name;

impl Overlay {
    /// Whether what a node shows is in the upper layer, be it under its own name or in the index.
    ///
    /// # Errors
    /// `STALE` if the id is not known.
    pub fn is_upper(&self, id: u64) -> Result<bool> {
        Ok(self.node(id)?.in_upper())
    }

    /// Whether a file of the upper layer may be shown under names that only lower layers have.
    ///
    /// # Errors
    /// Those of reading the index.
    pub fn shows_lower_names(&self) -> Result<bool> {
        let Some(index) = self.index() else {
            return Ok(false);
        };
        // Listings of one descriptor go on where the last one ended.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(index.dir(), c".", flags, Mode::empty())?;
        let dir = dir.as_fd();
        let mut found = false;
        for_each_entry(dir, |name, _, _| {
            let stat = stat_name(dir, name.to_bytes())?;
            let name = Name::from(OsStr::from_bytes(name.to_bytes()));
            // One of its names on disk is that in the index.
            found |= !is_whiteout(&stat)
                && index.links(&name, &stat, None)?.saturating_add(1) > stat.stx_nlink;
            Ok(())
        })?;
        Ok(found)
    }
}

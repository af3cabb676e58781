//! Whiteouts and opaque markers that are files, as in an OCI layer archive.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_format::whiteout;

use crate::disk::calls::{stat_name, stat_of_absent};
use crate::error::{Errno, Result};
use crate::layer::lower::Layer;

impl Layer {
    /// Whether a name is one of those that whiteouts in the form of files have.
    pub(crate) fn is_archive_name(&self, name: &OsStr) -> bool {
        self.archive_names && name.as_bytes().starts_with(whiteout::PREFIX)
    }

    /// Whether a directory holds a whiteout, in the form of a file, of a name that it does not hold.
    pub(crate) fn has_archive_whiteout(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
        if !self.archive_names {
            return Ok(false);
        }
        let whiteout = [whiteout::PREFIX, name.as_bytes()].concat();
        match stat_of_absent(stat_name(dir, &whiteout)) {
            Err(Errno::NAMETOOLONG) => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    /// Whether a directory below another is opaque by a file in it.
    pub(crate) fn is_archive_opaque(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
        if !self.archive_names {
            return Ok(false);
        }
        let marker = [name.as_bytes(), b"/", whiteout::OPAQUE].concat();
        Ok(stat_of_absent(stat_name(dir, &marker))?.is_some())
    }
}

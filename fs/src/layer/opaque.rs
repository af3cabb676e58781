//! Making directories of the upper layer opaque: they hide what the layers below have under their name.

use plyfs_format::names::{Namespace, Record};
use plyfs_format::whiteout;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{Mode, OFlags, XattrFlags};

use crate::disk::calls::{set_times_of, stat};
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result};
use crate::layer::upper::Upper;

/// Makes a directory opaque.
///
/// # Errors
/// Those of setxattr(2).
pub(crate) fn set_opaque(at: At<'_>, namespace: Namespace) -> Result<()> {
    let name = namespace.name(Record::Opaque);
    with_permission(at, || xattr::set(at, name, b"y", XattrFlags::empty()))
}

impl Upper {
    /// Makes a directory opaque, for all readers of this layer: where whiteouts may be files, tools look for
    /// a file, too.
    ///
    /// # Errors
    /// Those of setxattr(2) and openat(2).
    pub(crate) fn hide_below(&self, at: At<'_>) -> Result<()> {
        match set_opaque(at, self.namespace) {
            // The file says it, too.
            Err(Errno::OPNOTSUPP) if self.layer.archive_names => {}
            other => other?,
        }
        if !self.layer.archive_names {
            return Ok(());
        }
        let (dir, path) = match at {
            At::Fd(fd) => (fd, whiteout::OPAQUE.to_vec()),
            At::Name(dir, name) => (dir, [name, b"/", whiteout::OPAQUE].concat()),
        };
        let before = stat(at)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => Ok(()),
            // A mark is no change of the directory.
            made => made.and_then(|_| set_times_of(at, &before)),
        }
    }
}

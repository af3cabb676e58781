//! Whiteouts, as a layer holds them.
//!
//! A whiteout is a character device 0:0, or an empty regular file with an attribute. Where layers come from
//! archives it may also be a file of another name ([`archive_names`](super::archive_names)).

use plyfs_format::names::{Namespace, Record};
use plyfs_format::whiteout;
use plyfs_sys::xattr::{self, At};
use rustix::fs::Statx;

use crate::error::Result;

/// Whether an object is a whiteout.
pub(crate) fn is_whiteout(stat: &Statx) -> bool {
    whiteout::is_whiteout(
        u32::from(stat.stx_mode),
        stat.stx_rdev_major,
        stat.stx_rdev_minor,
    )
}

/// Whether an empty regular file is a whiteout by attribute.
///
/// # Errors
/// Those of getxattr(2).
pub(crate) fn is_attribute_whiteout(at: At<'_>, namespace: Namespace) -> Result<bool> {
    Ok(xattr::get_all(at, namespace.name(Record::Whiteout))?.is_some())
}

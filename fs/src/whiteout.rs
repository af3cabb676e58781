//! Whiteouts and opaque directories, as they are found in a layer and made in the upper one.

use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_format::names::{Namespace, OPAQUE_NAMES};
use plyfs_format::whiteout;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{Statx, XattrFlags};

use crate::Overlay;
use crate::error::{Errno, Result};
use crate::inode::Node;
use crate::object::{stat_name, stat_of_absent};

/// Whether an object is a whiteout.
pub(crate) fn is_whiteout(stat: &Statx) -> bool {
    whiteout::is_whiteout(
        u32::from(stat.stx_mode),
        stat.stx_rdev_major,
        stat.stx_rdev_minor,
    )
}

/// Whether a directory hides those of the same name below it.
///
/// # Errors
/// Those of listxattr(2) and getxattr(2).
pub(crate) fn is_opaque(at: At<'_>) -> Result<bool> {
    // Nearly every directory has no attributes at all, so one call usually answers.
    let names = xattr::list(at)?;
    for name in OPAQUE_NAMES {
        if !has(&names, name) {
            continue;
        }
        let Some(value) = read(at, name)? else {
            continue;
        };
        if whiteout::is_opaque_value(&value) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a directory opaque.
///
/// # Errors
/// Those of setxattr(2).
pub(crate) fn set_opaque(at: At<'_>, namespace: Namespace) -> Result<()> {
    let name = match namespace {
        Namespace::Trusted => c"trusted.overlay.opaque",
        Namespace::User => c"user.overlay.opaque",
    };
    xattr::set(at, name, b"y", XattrFlags::empty())
}

fn has(names: &[u8], wanted: &str) -> bool {
    names
        .split(|byte| *byte == 0)
        .any(|name| name == wanted.as_bytes())
}

fn read(at: At<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    xattr::get_all(at, &name)
}

impl Overlay {
    /// Whether the lower layers show something under a name, which a whiteout then has to hide.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(crate) fn lower_positive(&self, parent: &Node, name: &OsStr) -> Result<bool> {
        for lower in &parent.dir()?.lowers {
            let dir = lower.open(&self.lowers, &self.fds)?;
            let found = stat_of_absent(stat_name(dir.as_fd(), name.as_bytes()))?;
            if let Some(stat) = found {
                return Ok(!is_whiteout(&stat));
            }
        }
        Ok(false)
    }
}

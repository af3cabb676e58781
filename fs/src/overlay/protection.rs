//! What the flags of a file forbid (chattr(1), ioctl_iflags(2)).
//!
//! Most flags are those of the object in its layer. Two are not, as in the kernel's overlay: "immutable" and
//! "append only" of an upper file are in the xattr `protattr`. On the object itself they would keep the overlay
//! from moving it and from writing xattrs.
//!
//! The kernel refuses changes of a protected file by flags of its own inode, which no answer of FUSE can set. So
//! each change asks here first, before anything is copied up, and fails with `PERM` as the kernel's would. What the
//! kernel permits to descriptors that were opened before a file was protected is refused as well: nothing tells
//! them apart here.

use std::ffi::CStr;

use plyfs_format::names::Record;
use plyfs_format::protattr::Protection;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{Statx, StatxAttributes};

use crate::Overlay;
use crate::disk::calls;
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result};
use crate::inode::node::Node;
use crate::overlay::locate::ObjectRef;
use crate::types::{FileKind, SetAttr, SetTime, WriteMode};

impl Overlay {
    /// What may not be done to a node: what the flags of its object forbid, and in the upper layer the record.
    ///
    /// # Errors
    /// Those of statx(2) and getxattr(2).
    pub(crate) fn protection(&self, node: &Node) -> Result<Protection> {
        if let Some(known) = node.protection.get() {
            return Ok(known);
        }
        if has_flags(node).is_err() {
            return Ok(Protection::default());
        }
        let object = self.locate(node)?;
        let flags = match node.protection.flags() {
            Some(flags) => flags,
            None => protection_in_stat(&calls::stat(object.at())?),
        };
        if !object.in_upper {
            if !self.lowers_change {
                node.protection.learn(flags);
            }
            return Ok(flags);
        }
        let record = self.recorded_protection(&object)?;
        let protection = Protection {
            immutable: flags.immutable || record.immutable,
            append_only: flags.append_only || record.append_only,
        };
        node.protection.learn(protection);
        Ok(protection)
    }

    fn recorded_protection(&self, object: &ObjectRef<'_>) -> Result<Protection> {
        let (at, name) = (object.at(), self.namespace.name(Record::Protattr));
        let value = match xattr::get_all(at, name) {
            // The owner may not read the file; the names of its attributes are for everybody.
            Err(Errno::ACCESS) => {
                if has_attribute(at, name)? {
                    with_permission(at, || xattr::get_all(at, name))?
                } else {
                    None
                }
            }
            value => value?,
        };
        let Some(value) = value else {
            return Ok(Protection::default());
        };
        Ok(Protection::parse(&value).unwrap_or_else(|| {
            log::warn!(
                "ignoring a protattr record of {} bytes: unknown format",
                value.len()
            );
            Protection::default()
        }))
    }

    /// Refuses to change what is immutable: the data of a file, the names in a directory.
    ///
    /// # Errors
    /// `PERM`, and those of [`protection`](Self::protection).
    pub(crate) fn check_may_add(&self, node: &Node) -> Result<()> {
        allow(!self.protection(node)?.immutable)
    }

    /// Refuses what only a file without any protection allows: to remove, rename or link it, to remove names
    /// in it, to change its owner, mode, size or attributes.
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_unprotected(&self, node: &Node) -> Result<()> {
        allow(!self.protection(node)?.any())
    }

    /// Refuses to take `name` out of `parent`, before anything is copied up for that.
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_may_leave(&self, parent: &Node, node: &Node) -> Result<()> {
        self.check_unprotected(parent)?;
        self.check_unprotected(node)
    }

    /// Refuses a change of attributes that protection forbids (`notify_change` of the kernel).
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_may_set(&self, node: &Node, set: &SetAttr) -> Result<()> {
        if set.kept_by_kernel {
            return Ok(());
        }
        let has_times = set.atime.is_some() || set.mtime.is_some();
        // Without times of its own, utimensat(2) is what a write does as well. A kernel that gathers writes says
        // itself what time it is now.
        let now = |time| time == Some(SetTime::Now);
        let touches = now(set.atime) && (now(set.mtime) || self.gathers && set.mtime.is_some());
        let others = set.mode.is_some() || set.uid.is_some() || set.gid.is_some();
        match () {
            () if others || set.size.is_some() || has_times && !touches => {
                self.check_unprotected(node)
            }
            () if has_times => self.check_may_add(node),
            () => Ok(()),
        }
    }

    /// Refuses a write that protection forbids. Returns whether the file is append-only.
    ///
    /// # Errors
    /// `PERM` where the flags forbid it.
    pub(crate) fn check_may_write(&self, node: &Node, mode: WriteMode) -> Result<bool> {
        let protection = self.protection(node)?;
        // Data that was gathered came by a descriptor that is not known any more.
        let adds = mode.appends || mode.gathered;
        allow(!protection.immutable && (adds || !protection.append_only))?;
        Ok(protection.append_only)
    }
}

pub(crate) fn allow(is_allowed: bool) -> Result<()> {
    if is_allowed { Ok(()) } else { Err(Errno::PERM) }
}

fn has_attribute(at: At<'_>, name: &CStr) -> Result<bool> {
    let names = xattr::list(at)?;
    Ok(names
        .split(|byte| *byte == 0)
        .any(|one| one == name.to_bytes()))
}

/// Only regular files and directories have flags.
pub(crate) fn has_flags(node: &Node) -> Result<()> {
    match node.kind {
        FileKind::Regular | FileKind::Directory => Ok(()),
        _ => Err(Errno::NOTTY),
    }
}

/// What the flags of an object forbid.
pub(crate) fn protection_in_stat(stat: &Statx) -> Protection {
    let attributes = stat.stx_attributes;
    Protection {
        immutable: attributes.contains(StatxAttributes::IMMUTABLE),
        append_only: attributes.contains(StatxAttributes::APPEND),
    }
}

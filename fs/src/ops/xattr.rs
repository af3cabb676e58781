//! Extended attributes of files on the mount.
//!
//! Attributes are those of the object a node shows, but for the records of overlays: no user sees
//! them, and those of an overlay above are stored under an escaped name. In a layer with `override_stat`
//! records, `security.*` attributes are kept under a `user.*` name, because the process may not write
//! them.
//!
//! # Invariants
//!
//! - What an overlay believes about a file in *some* mode, no user writes in *any* mode: the next mount
//!   of a layer may be in another one.
//! - Neither does a copy-up bring such an attribute along from a layer where it means nothing.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::Overlay;
use crate::disk::attribute_names::{ACCESS_ACL, ACL_PREFIX, CAPABILITY};
use crate::disk::calls;
use crate::disk::lent_modes::hold_modes;
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::layer::xattr_names::Naming;
use crate::overlay::set_id::may_keep_set_gid;
use crate::types::{Caller, Extent, PERMISSIONS, S_ISGID};

impl Overlay {
    /// Reads an extended attribute (getxattr(2)).
    ///
    /// # Errors
    /// `NODATA` if there is none, `OPNOTSUPP` where the layer's file system has none of its kind; but an ACL
    /// is `NODATA` there, too.
    pub fn getxattr(&self, id: u64, name: &OsStr) -> Result<Vec<u8>> {
        match self.getxattr_of(&*self.node(id)?, name) {
            // The kernel reads the ACL to check permissions. An object without one is checked by its mode; any
            // other error is that of the check.
            Err(Errno::OPNOTSUPP) if name.as_bytes().starts_with(ACL_PREFIX) => Err(Errno::NODATA),
            value => value,
        }
    }

    fn getxattr_of(&self, node: &Node, name: &OsStr) -> Result<Vec<u8>> {
        // Asked at the first write to every file.
        if name.as_bytes() == CAPABILITY.to_bytes() && node.capability.get() == Some(false) {
            return Err(Errno::NODATA);
        }
        let object = self.locate(node)?;
        if object.records.keep_owners() && name.as_bytes().starts_with(ACL_PREFIX) {
            return Err(Errno::NODATA);
        }
        let naming = self.naming(&object);
        self.check_name_of_kind(name)?;
        let stored = naming.stored(name.as_bytes()).ok_or(Errno::NODATA)?;
        // The owner's permissions in it are those of the mode, with what is lent.
        let _modes = (name.as_bytes() == ACCESS_ACL.to_bytes()).then(hold_modes);
        xattr::get_long(object.at(), &stored)
    }

    /// Lists the names of extended attributes, each ended by a NUL (listxattr(2)).
    ///
    /// # Errors
    /// Those of listxattr(2).
    pub fn listxattr(&self, caller: &Caller, id: u64) -> Result<Vec<u8>> {
        const TRUSTED: &[u8] = b"trusted.";
        let node = self.node(id)?;
        let object = self.locate(&node)?;
        let naming = self.naming(&object);
        let stored = xattr::list(object.at())?;
        let mut shown = Vec::with_capacity(stored.len());
        for name in stored
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            if let Some(name) = naming.shown(name)
                // For the superuser's eyes only (xattr(7)).
                && (caller.uid == 0 || !name.starts_with(TRUSTED))
            {
                shown.extend_from_slice(&name);
                shown.push(0);
            }
        }
        Ok(shown)
    }

    /// Sets an extended attribute (setxattr(2)), copying the file up if need be.
    ///
    /// # Errors
    /// `PERM` for a record of an overlay, `OPNOTSUPP` where the upper file system has none of its
    /// kind, `EXIST` and `NODATA` as `flags` ask, and those of copying up.
    pub fn setxattr(
        &self,
        caller: &Caller,
        id: u64,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        let node = self.node(id)?;
        let stored = self.writable_name(name)?;
        self.check_unprotected(&node)?;
        self.check_flags(&node, name, flags)?;
        self.copy_up(&node, Extent::None)?;
        // A write that was gathered keeps capabilities over it, and is not to bring back older ones.
        let _writing = (name.as_bytes() == CAPABILITY.to_bytes()).then(|| node.times.lock());
        let object = self.locate(&node)?;
        if name.as_bytes() == CAPABILITY.to_bytes() {
            node.capability.set(true);
        }
        if name.as_bytes() != ACCESS_ACL.to_bytes() {
            return xattr::set(object.at(), &stored, value, flags);
        }
        self.change_acl(caller, id, object.at(), |at| {
            xattr::set(at, &stored, value, flags)
        })
    }

    /// Removes an extended attribute (removexattr(2)), copying the file up if need be.
    ///
    /// # Errors
    /// `NODATA` if there is none; otherwise as [`setxattr`](Self::setxattr).
    pub fn removexattr(&self, caller: &Caller, id: u64, name: &OsStr) -> Result<()> {
        let node = self.node(id)?;
        let stored = self.writable_name(name)?;
        self.check_unprotected(&node)?;
        self.check_flags(&node, name, XattrFlags::REPLACE)?;
        self.copy_up(&node, Extent::None)?;
        let _writing = (name.as_bytes() == CAPABILITY.to_bytes()).then(|| node.times.lock());
        let object = self.locate(&node)?;
        if name.as_bytes() != ACCESS_ACL.to_bytes() {
            return xattr::remove(object.at(), &stored);
        }
        self.change_acl(caller, id, object.at(), |at| xattr::remove(at, &stored))
    }

    /// Changes the ACL for access: the file system below changes the mode with it, and set-gid may have to go. A
    /// kernel that takes ACLs for plain attributes expects neither.
    fn change_acl(
        &self,
        caller: &Caller,
        id: u64,
        at: At<'_>,
        change: impl FnOnce(At<'_>) -> Result<()>,
    ) -> Result<()> {
        let modes = hold_modes();
        change(at)?;
        let dropped = drop_set_gid(caller, at);
        drop(modes);
        self.changed_unasked(id);
        dropped
    }

    /// A name that ends where the records of overlays begin is none.
    fn check_name_of_kind(&self, name: &OsStr) -> Result<()> {
        if name == self.namespace.prefix() {
            Err(decided(Errno::INVAL))
        } else {
            Ok(())
        }
    }

    /// The stored name of an attribute that is to be changed.
    fn writable_name(&self, name: &OsStr) -> Result<CString> {
        self.check_name_of_kind(name)?;
        let layer = &self.upper()?.layer;
        if layer.records.keep_owners() && name.as_bytes().starts_with(ACL_PREFIX) {
            // The ids in it would be those of the disk, not those that are shown.
            return Err(Errno::OPNOTSUPP);
        }
        let naming = Naming {
            records: layer.records,
            marks: layer.marks,
            namespace: self.namespace,
        };
        naming.stored(name.as_bytes()).ok_or(Errno::PERM)
    }

    /// Fails before a copy-up if the change would fail after it.
    fn check_flags(&self, node: &Arc<Node>, name: &OsStr, flags: XattrFlags) -> Result<()> {
        if flags.is_empty() || node.in_upper() {
            return Ok(());
        }
        match self.getxattr_of(node, name) {
            Ok(_) if flags.contains(XattrFlags::CREATE) => Err(Errno::EXIST),
            Err(error) if flags.contains(XattrFlags::REPLACE) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Takes the set-gid bit from what had its ACL changed by a caller that is neither in its group
/// nor privileged, as the kernel does (`posix_acl_update_mode`). The caller holds the modes.
fn drop_set_gid(caller: &Caller, at: At<'_>) -> Result<()> {
    let stat = calls::stat(at)?;
    let mode = u32::from(stat.stx_mode);
    if mode & S_ISGID != 0 && !may_keep_set_gid(caller, stat.stx_gid) {
        calls::chmod(at, mode & PERMISSIONS & !S_ISGID)?;
    }
    Ok(())
}

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

use std::borrow::Cow;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::names::{self, Namespace, OPAQUE_NAMES};
use plyfs_format::override_stat::SECURITY_PREFIX;
use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::Overlay;
use crate::config::override_stat_mode::Records;
use crate::disk::calls::{self, Located};
use crate::disk::owner_mode::hold_modes;
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::layer::lower::Marks;
use crate::ops::copy_up::Extent;
use crate::ops::setattr::may_keep_set_gid;
use crate::types::Caller;

const SECURITY: &[u8] = b"security.";
const CAPABILITY: &str = "security.capability";
const ACL: &[u8] = b"system.posix_acl_";
/// The ACL that the mode is a part of.
const ACCESS_ACL: &str = "system.posix_acl_access";

/// How the attributes of a layer are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Which of its files carry `override_stat` records.
    pub(crate) records: Records,
    /// Which of its records of overlays count.
    pub(crate) marks: Marks,
    /// The namespace of the mount.
    pub(crate) namespace: Namespace,
}

impl Naming {
    /// The name users of the mount know a stored attribute by; `None` if it is not for them.
    pub(crate) fn shown(self, stored: &[u8]) -> Option<Cow<'_, [u8]>> {
        if self.records.rename_security()
            && let Some(rest) = stored.strip_prefix(SECURITY_PREFIX.as_bytes())
        {
            let shown = [SECURITY, rest].concat();
            return (!names::is_override_record(&shown)).then_some(Cow::Owned(shown));
        }
        if names::is_override_record(stored) || self.is_mark(stored) {
            return None;
        }
        self.namespace.shown(stored)
    }

    /// Whether a stored attribute is a mark of another namespace that counts nevertheless. Those of the
    /// mount's own are told by their prefix.
    fn is_mark(self, stored: &[u8]) -> bool {
        names::is_served_by_kernel(stored)
            || self.marks == Marks::Any && OPAQUE_NAMES.iter().any(|name| name.as_bytes() == stored)
    }

    /// The name an attribute is stored under, the inverse of [`shown`](Self::shown); `None` if users of
    /// the mount cannot have an attribute of that name.
    pub(crate) fn stored(self, shown: &[u8]) -> Option<CString> {
        if names::is_override_record(shown) {
            return None;
        }
        let stored = match shown.strip_prefix(SECURITY) {
            Some(rest) if self.records.rename_security() => {
                Cow::Owned([SECURITY_PREFIX.as_bytes(), rest].concat())
            }
            _ => self.namespace.stored(shown),
        };
        if self.is_mark(&stored) {
            return None;
        }
        CString::new(stored).ok()
    }
}

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
            Err(Errno::OPNOTSUPP) if name.as_bytes().starts_with(ACL) => Err(Errno::NODATA),
            value => value,
        }
    }

    fn getxattr_of(&self, node: &Node, name: &OsStr) -> Result<Vec<u8>> {
        // Asked at the first write to every file.
        if name == CAPABILITY && node.capability.get() == Some(false) {
            return Err(Errno::NODATA);
        }
        let object = self.locate(node)?;
        if object.records.keep_owners() && name.as_bytes().starts_with(ACL) {
            return Err(Errno::NODATA);
        }
        let naming = self.naming(&object);
        self.check_name_of_kind(name)?;
        let stored = naming.stored(name.as_bytes()).ok_or(Errno::NODATA)?;
        // The owner's permissions in it are those of the mode, with what is lent.
        let _modes = (name == ACCESS_ACL).then(hold_modes);
        xattr::get_long(object.at(), &stored)
    }

    /// How the attributes of an object are named.
    pub(crate) fn naming(&self, object: &Located<'_>) -> Naming {
        Naming {
            records: object.records,
            marks: object.marks,
            namespace: self.namespace,
        }
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
        let _writing = (name == CAPABILITY).then(|| node.times.lock());
        let object = self.locate(&node)?;
        if name == CAPABILITY {
            node.capability.set(true);
        }
        if name != ACCESS_ACL {
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
        let _writing = (name == CAPABILITY).then(|| node.times.lock());
        let object = self.locate(&node)?;
        if name != ACCESS_ACL {
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
        match name == self.namespace.prefix() {
            true => Err(decided(Errno::INVAL)),
            false => Ok(()),
        }
    }

    /// The stored name of an attribute that is to be changed.
    fn writable_name(&self, name: &OsStr) -> Result<CString> {
        self.check_name_of_kind(name)?;
        let layer = &self.upper()?.layer;
        if layer.records.keep_owners() && name.as_bytes().starts_with(ACL) {
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
    const S_ISGID: u32 = 0o2000;
    let stat = calls::stat(at)?;
    let mode = u32::from(stat.stx_mode);
    if mode & S_ISGID != 0 && !may_keep_set_gid(caller, stat.stx_gid) {
        calls::chmod(at, mode & 0o7777 & !S_ISGID)?;
    }
    Ok(())
}

/// Whether the caller is in a group. The protocol tells only its first; the others are read from
/// `/proc`, and a caller that cannot be seen there is in none.
pub(crate) fn is_in_group(caller: &Caller, gid: u32) -> bool {
    if caller.gid == gid {
        return true;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", caller.pid));
    status.is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Groups:"))
            .is_some_and(|groups| {
                groups
                    .split_whitespace()
                    .any(|group| group.parse() == Ok(gid))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(records: Records) -> Naming {
        Naming {
            records,
            marks: Marks::Own,
            namespace: Namespace::Trusted,
        }
    }

    fn shown(name: &str, records: Records) -> Option<String> {
        let name = naming(records).shown(name.as_bytes())?.into_owned();
        Some(String::from_utf8(name).unwrap())
    }

    #[test]
    fn records_are_not_shown_and_security_is_under_its_own_name() {
        assert_eq!(shown("user.a", Records::None).unwrap(), "user.a");
        assert_eq!(shown("trusted.overlay.opaque", Records::None), None);
        let others = "user.overlay.origin";
        assert_eq!(shown(others, Records::All).unwrap(), others);
        let capability = "user.containers.override_security.capability";
        assert_eq!(
            shown(capability, Records::All).unwrap(),
            "security.capability"
        );
        assert_eq!(shown(capability, Records::None), None);
        let any = Naming {
            marks: Marks::Any,
            ..naming(Records::None)
        };
        assert_eq!(any.shown(b"user.overlay.opaque"), None);
    }

    #[test]
    fn what_is_shown_is_stored_where_it_is_found_again() {
        for records in [Records::None, Records::Devices, Records::All] {
            for name in [
                "user.a",
                "security.capability",
                "trusted.x",
                "trusted.overlay.redirect",
                "user.overlay.redirect",
                "system.posix_acl_access",
            ] {
                let stored = naming(records).stored(name.as_bytes()).unwrap();
                assert_eq!(shown(stored.to_str().unwrap(), records).unwrap(), name);
            }
        }
    }

    const EVERY: [Records; 6] = [
        Records::None,
        Records::Untrusted,
        Records::Devices,
        Records::All,
        Records::Older,
        Records::Privileged,
    ];

    #[test]
    fn records_of_every_mode_are_hidden_and_refused_in_every_mode() {
        for records in EVERY {
            for name in [
                "user.containers.override_stat",
                "user.containers.override_note",
                "user.fuseoverlayfs.override_stat",
                "user.fuseoverlayfs.opaque",
                "security.fuseoverlayfs.override_stat",
            ] {
                assert_eq!(shown(name, records), None, "{records:?} {name}");
                let stored = naming(records).stored(name.as_bytes());
                assert_eq!(stored, None, "{records:?} {name}");
            }
            // What the superuser's records are called where `security.*` has another name.
            let renamed = "user.containers.override_security.fuseoverlayfs.override_stat";
            assert_eq!(shown(renamed, records), None, "{records:?}");
        }
    }

    #[test]
    fn markers_that_count_are_refused() {
        let other = "user.overlay.opaque";
        let any = Naming {
            marks: Marks::Any,
            ..naming(Records::None)
        };
        assert_eq!(any.stored(other.as_bytes()), None);
        // The mount's own are those of an overlay above, and escaped.
        assert!(any.stored(b"trusted.overlay.opaque").is_some());
        assert!(naming(Records::None).stored(other.as_bytes()).is_some());
        for mark in ["user.overlay.plyfs.kernel", "trusted.overlay.plyfs.kernel"] {
            assert_eq!(shown(mark, Records::None), None);
        }
        let mark = naming(Records::None).stored(b"user.overlay.plyfs.kernel");
        assert_eq!(mark, None);
    }
}

//! Extended attributes of entries.

use std::os::fd::BorrowedFd;

use plyfs_format::names::{is_overlay_record, is_override_record};
use plyfs_format::override_stat::SECURITY_PREFIX;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::fault::Result;
use super::place::Place;
use super::unpacker::Unpacker;
use crate::error::EntryFault;
use crate::values::{Ownership, limits};

/// Access control lists of POSIX.
const ACL_PREFIX: &[u8] = b"system.posix_acl_";

/// Whether the attribute is an access control list. Setting one changes the mode.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name.starts_with(ACL_PREFIX)
}

/// The name under which an attribute is kept on disk; `None` if it is dropped.
///
/// - Records of overlays are dropped: `overlay.opaque`, `overlay.redirect` or `overlay.metacopy`
///   from an archive would make a mount show other files than the archive holds, and
///   `override_stat` would make a file a device.
/// - Without real ownership `security.*` (file capabilities, labels) is kept in the place
///   containers-storage has for it, and `trusted.*`, for which there is none, is dropped.
fn name_on_disk(name: &[u8], ownership: Ownership) -> Option<Vec<u8>> {
    if is_overlay_record(name) || is_override_record(name) {
        return None;
    }
    if ownership == Ownership::Real {
        return Some(name.to_vec());
    }
    if name.starts_with(b"trusted.") {
        return None;
    }
    let Some(security) = name.strip_prefix(b"security.") else {
        return Some(name.to_vec());
    };
    let kept = [SECURITY_PREFIX.as_bytes(), security].concat();
    (kept.len() <= limits::XATTR_NAME_BYTES).then_some(kept)
}

impl Unpacker {
    /// Sets the attributes of a file or directory that is open.
    pub(super) fn set_xattrs<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        xattrs: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>)>,
    ) -> Result<()> {
        for (name, value) in xattrs {
            self.set_xattr(name, |kept| {
                rustix::fs::fsetxattr(fd, kept, value, XattrFlags::empty())
            })?;
        }
        Ok(())
    }

    /// Sets the attributes of what has no descriptor: a link, a device or a fifo.
    pub(super) fn set_xattrs_at(
        &mut self,
        place: &Place<'_>,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        for (name, value) in xattrs {
            self.set_xattr(name, |kept| {
                let kept = std::ffi::CString::new(kept).map_err(|_| Errno::INVAL)?;
                let at = plyfs_sys::xattr::At::Name(place.dir(), place.name());
                plyfs_sys::xattr::set(at, &kept, value, XattrFlags::empty())
            })?;
        }
        Ok(())
    }

    fn set_xattr(
        &mut self,
        name: &[u8],
        set: impl FnOnce(&[u8]) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let Some(kept) = name_on_disk(name, self.policy.ownership) else {
            self.facts.xattrs_dropped += 1;
            return Ok(());
        };
        match set(&kept) {
            Ok(()) => self.facts.xattrs += 1,
            // Not allowed to this process or on this kind of file, not known to this file system,
            // or a value that makes no sense here, as an access control list with unmapped ids.
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL) => {
                self.facts.xattrs_dropped += 1;
            }
            Err(errno) => {
                let name = name.to_vec();
                return Err(EntryFault::Xattr { name, errno });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_records_are_dropped_and_the_others_find_their_place() {
        let real = |name: &str| name_on_disk(name.as_bytes(), Ownership::Real);
        let kept = |name: &str| name_on_disk(name.as_bytes(), Ownership::Override);
        for name in [
            "trusted.overlay.opaque",
            "user.overlay.redirect",
            "user.fuseoverlayfs.opaque",
            "user.containers.override_stat",
            "user.containers.override_security.capability",
            "security.fuseoverlayfs.override_stat",
        ] {
            assert_eq!((real(name), kept(name)), (None, None), "{name}");
        }
        for name in ["user.x", "system.posix_acl_access"] {
            assert_eq!(real(name).unwrap(), name.as_bytes());
            assert_eq!(kept(name).unwrap(), name.as_bytes());
        }
        assert_eq!(real("security.capability").unwrap(), b"security.capability");
        assert_eq!(
            kept("security.capability").unwrap(),
            b"user.containers.override_security.capability"
        );
        assert!(real("trusted.x").is_some());
        assert_eq!(kept("trusted.x"), None);
        assert_eq!(kept(&format!("security.{}", "x".repeat(230))), None);
    }
}

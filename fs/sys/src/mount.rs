//! Changing the attributes of mounts that exist.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::process::returned;

/// Attributes to set and to clear (`MOUNT_ATTR_*`, mount_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// `Some(true)` for read-only, `Some(false)` for writable.
    pub read_only: Option<bool>,
    /// Whether set-user-id programs are refused their power.
    pub nosuid: Option<bool>,
    /// Whether device nodes cannot be opened.
    pub nodev: Option<bool>,
    /// Whether nothing can be executed.
    pub noexec: Option<bool>,
}

impl Change {
    /// Read-only, without set-user-id programs, devices or execution.
    pub const RESTRICT: Self = Self {
        read_only: Some(true),
        nosuid: Some(true),
        nodev: Some(true),
        noexec: Some(true),
    };

    fn masks(self) -> (u64, u64) {
        let (mut set, mut clear) = (0, 0);
        for (wanted, bit) in [
            (self.read_only, libc::MOUNT_ATTR_RDONLY),
            (self.nosuid, libc::MOUNT_ATTR_NOSUID),
            (self.nodev, libc::MOUNT_ATTR_NODEV),
            (self.noexec, libc::MOUNT_ATTR_NOEXEC),
        ] {
            match wanted {
                Some(true) => set |= bit,
                Some(false) => clear |= bit,
                None => {}
            }
        }
        (set, clear)
    }
}

/// Changes the attributes of the mount that a descriptor is the root of; with `recursive` those of all
/// mounts below it too (mount_setattr(2), kernel 5.12).
///
/// # Errors
/// `NOSYS` on an older kernel, `PERM` without CAP_SYS_ADMIN or for an attribute that an outer namespace
/// has locked, `INVAL` if the descriptor is not of the root of a mount.
pub fn change(mount: BorrowedFd<'_>, change: Change, recursive: bool) -> Result<()> {
    let (attr_set, attr_clr) = change.masks();
    let attributes = libc::mount_attr {
        attr_set,
        attr_clr,
        propagation: 0,
        userns_fd: 0,
    };
    set_attributes(mount, &attributes, recursive)
}

/// Takes a mount out of its peer group, so that what is mounted elsewhere does not show in it
/// (mount_namespaces(7), mount_setattr(2), kernel 5.12).
///
/// # Errors
/// As [`change`].
pub fn make_private(mount: BorrowedFd<'_>) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    set_attributes(mount, &attributes, false)
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: &libc::mount_attr,
    recursive: bool,
) -> Result<()> {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated string, and the structure is passed with its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    returned(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_mount_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = File::open(dir.path()).unwrap();
        assert!(make_private(dir.as_fd()).is_err());
        assert!(change(dir.as_fd(), Change::RESTRICT, true).is_err());
    }

    #[test]
    fn attributes_are_set_and_cleared() {
        let change = Change {
            read_only: Some(true),
            nodev: Some(false),
            ..Change::default()
        };
        let expected = (libc::MOUNT_ATTR_RDONLY, libc::MOUNT_ATTR_NODEV);
        assert_eq!(change.masks(), expected);
    }
}

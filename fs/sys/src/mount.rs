//! Changing the attributes of mounts that exist.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::process::returned;

/// Makes the mount that a descriptor leads to read-only and takes set-uid programs, devices and
/// execution from it, with all mounts below it (mount_setattr(2), kernel 5.12).
///
/// # Errors
/// `NOSYS` on an older kernel, `PERM` without CAP_SYS_ADMIN, `INVAL` if the descriptor is not of the
/// root of a mount.
pub fn restrict_recursively(mount: BorrowedFd<'_>) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated string, and the structure is passed with its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
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
        assert!(restrict_recursively(dir.as_fd()).is_err());
    }
}

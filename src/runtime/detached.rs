//! A file on a read-only mount that is in no mount namespace, so that nothing in a container can change its
//! attributes (mount_setattr(2) takes only mounts of one's own namespace).

use std::os::fd::{AsFd, OwnedFd};

use plyfs_sys::mount::{Change, change};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

/// Makes such a mount of the file that a link of /proc leads to. What is returned is open as a path only.
///
/// # Errors
/// `PERM` without the right to mount, `STALE` if the file has no name any more, or a mount hides it.
pub(super) fn read_only(link: &str) -> rustix::io::Result<OwnedFd> {
    // By its name: what the link itself leads to is in the mount namespace in which it was opened.
    let path = rustix::fs::readlink(link, Vec::new())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, path.as_c_str(), flags)?;
    let (found, wanted) = (rustix::fs::fstat(&mount)?, rustix::fs::stat(link)?);
    if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino) {
        return Err(Errno::STALE);
    }
    let restricted = Change {
        read_only: Some(true),
        nosuid: Some(true),
        nodev: Some(true),
        noexec: None,
    };
    change(mount.as_fd(), restricted, false)?;
    Ok(mount)
}

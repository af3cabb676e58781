//! Permissions that the daemon lends itself on its own objects.
//!
//! Whether a caller may do something was checked before the daemon does it. A daemon without `CAP_DAC_OVERRIDE`
//! (an ordinary user's, mounted by fusermount3(1)) is kept out by the mode of an object all the same: a directory
//! without `w` takes no copy, cannot move to another directory, and takes no `user.*` attribute; nor does such a
//! file. The owner's bits are then added for the length of the call. A crash in between leaves them: the object
//! grants more to its owner, who can grant it anyway, and to nobody else.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::At;
use rustix::fs::{OFlags, RenameFlags};

use crate::attr::FileKind;
use crate::error::{Errno, Result};
use crate::object;

/// An object whose owner has all permissions for as long as this lives.
struct Lent {
    /// `O_PATH`, which stays the same object when it is moved.
    fd: OwnedFd,
    /// Its mode before.
    mode: u32,
}

impl Lent {
    /// `None` if the mode keeps its owner from nothing.
    ///
    /// # Errors
    /// `ACCESS` if the object is not this process's own.
    fn to(at: At<'_>) -> Result<Option<Self>> {
        let fd = object::open(at, OFlags::PATH)?;
        let mode = u32::from(object::stat_fd(fd.as_fd())?.stx_mode);
        let missing = match FileKind::from_mode(mode) {
            Some(FileKind::Directory) => 0o700,
            Some(FileKind::Symlink) | None => return Ok(None),
            Some(_) => 0o600,
        };
        Self::add(fd, mode & 0o7777, missing)
    }

    /// The same of a directory only: it has to be written to when it is moved, unlike a file. `None` also if there
    /// is none.
    fn to_directory(at: At<'_>) -> Result<Option<Self>> {
        match object::stat_of_absent(object::stat(at))? {
            Some(stat)
                if FileKind::from_mode(stat.stx_mode.into()) == Some(FileKind::Directory) =>
            {
                Self::to(at)
            }
            _ => Ok(None),
        }
    }

    fn add(fd: OwnedFd, mode: u32, missing: u32) -> Result<Option<Self>> {
        if mode & missing == missing {
            return Ok(None);
        }
        object::chmod(At::Fd(fd.as_fd()), mode | missing).map_err(|_| Errno::ACCESS)?;
        Ok(Some(Self { fd, mode }))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Err(errno) = object::chmod(At::Fd(self.fd.as_fd()), self.mode) {
            log::warn!(
                "cannot restore the mode {:o} of an object of the upper layer: {errno}",
                self.mode
            );
        }
    }
}

/// Makes a call on an object; if its mode keeps the owner out, once more with permission.
///
/// # Errors
/// Those of the call.
pub(crate) fn with_permission<T>(at: At<'_>, call: impl Fn() -> Result<T>) -> Result<T> {
    match call() {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let _lent = Lent::to(at)?;
    call()
}

/// renameat2(2) between directories of the upper layer. The modes of both directories, and of a directory that is
/// moved, may keep their owner out.
///
/// # Errors
/// Those of renameat2(2).
pub(crate) fn rename(
    (from, name): (BorrowedFd<'_>, &OsStr),
    (to, new_name): (BorrowedFd<'_>, &OsStr),
    flags: RenameFlags,
) -> Result<()> {
    let rename = || rustix::fs::renameat_with(from, name, to, new_name, flags);
    match rename() {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let _from = Lent::to(At::Fd(from))?;
    let _to = Lent::to(At::Fd(to))?;
    let _moved = Lent::to_directory(At::Name(from, name.as_bytes()))?;
    let _replaced = Lent::to_directory(At::Name(to, new_name.as_bytes()))?;
    rename()
}

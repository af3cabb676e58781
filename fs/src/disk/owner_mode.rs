//! Permissions that the daemon lends itself on its own objects.
//!
//! Whether a caller may do something was checked before the daemon does it. A daemon without `CAP_DAC_OVERRIDE`
//! (an ordinary user's, mounted by fusermount3(1)) is still kept out by the mode of an object: a directory without
//! `w` takes no copy, cannot move to another directory, and takes no `user.*` attribute; nor does such a file. The
//! owner's bits are then added for the length of the call. A crash in between leaves them: the object grants more
//! to its owner alone, who can grant it anyway.
//!
//! [`lent_modes`](super::lent_modes) keeps callers from seeing the added bits, and from changing the mode
//! meanwhile. An object that is not published yet has no other user: its mode is changed without.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use plyfs_sys::xattr::At;
use rustix::fs::{AtFlags, OFlags, RenameFlags, Statx, StatxFlags};

use crate::disk::calls;
use crate::disk::lent_modes::{CHANGES, COUNT, Known, LENT, MODES};
use crate::error::{Errno, Result};
use crate::types::{FileKind, PERMISSIONS, S_ISGID};

/// An object whose owner has all permissions for as long as this lives. [`MODES`] is held for writing.
struct Lent {
    /// `O_PATH`, which stays the same object when it is moved.
    fd: OwnedFd,
    known: Known,
    /// The mode that it has meanwhile.
    mode: u32,
}

impl Lent {
    /// `None` if the mode keeps its owner from nothing.
    ///
    /// # Errors
    /// `ACCESS` if the object is not this process's own, or if its mode could not be restored.
    fn to(at: At<'_>) -> Result<Option<Self>> {
        let fd = calls::open(at, OFlags::PATH)?;
        let stat = stat_of(&fd)?;
        let missing = match FileKind::from_mode(stat.stx_mode.into()) {
            Some(FileKind::Directory) => 0o700,
            Some(FileKind::Symlink) | None => return Ok(None),
            Some(_) => 0o600,
        };
        Self::add(fd, &stat, missing)
    }

    /// The same of a directory only: it has to be written to when it is moved, unlike a file. `None` also if there
    /// is none.
    fn to_directory(at: At<'_>) -> Result<Option<Self>> {
        match calls::stat_of_absent(calls::stat(at))? {
            Some(stat)
                if FileKind::from_mode(stat.stx_mode.into()) == Some(FileKind::Directory) =>
            {
                Self::to(at)
            }
            _ => Ok(None),
        }
    }

    fn add(fd: OwnedFd, stat: &Statx, missing: u32) -> Result<Option<Self>> {
        let mode = u32::from(stat.stx_mode) & PERMISSIONS;
        if mode & missing == missing {
            return Ok(None);
        }
        if mode & S_ISGID != 0 && !is_in_group(stat.stx_gid) {
            // chmod(2) of a process outside of the group takes the bit away for good.
            return Err(Errno::ACCESS);
        }
        let known = Known::of(stat);
        LENT.lock().push(known);
        COUNT.fetch_add(1, Ordering::SeqCst);
        CHANGES.fetch_add(1, Ordering::SeqCst);
        let lent = Self {
            fd,
            known,
            mode: mode | missing,
        };
        calls::chmod(At::Fd(lent.fd.as_fd()), lent.mode).map_err(|_| Errno::ACCESS)?;
        Ok(Some(lent))
    }

    /// Takes back the permissions that were added, unless another process has changed them meanwhile. Set-id bits
    /// that a write has cleared stay so.
    fn restore(&self) -> Result<()> {
        let now = u32::from(stat_of(&self.fd)?.stx_mode) & PERMISSIONS;
        if now & 0o777 == self.mode & 0o777 {
            let added = self.mode & !u32::from(self.known.mode);
            calls::chmod(At::Fd(self.fd.as_fd()), now & !added)?;
        }
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Err(errno) = self.restore() {
            let mode = u32::from(self.known.mode) & PERMISSIONS;
            log::warn!("cannot restore the mode {mode:o} of an object of the upper layer: {errno}");
        }
        // First: a reader that no longer finds it must see that something changed.
        CHANGES.fetch_add(1, Ordering::SeqCst);
        let mut lent = LENT.lock();
        if let Some(at) = lent.iter().position(|known| *known == self.known) {
            lent.remove(at);
        }
        COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// statx(2) as it is on disk.
fn stat_of(fd: &OwnedFd) -> Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

fn is_in_group(gid: u32) -> bool {
    rustix::process::getegid().as_raw() == gid
        || rustix::process::getgroups()
            .is_ok_and(|groups| groups.iter().any(|one| one.as_raw() == gid))
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
    let _modes = MODES.write();
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
    let _modes = MODES.write();
    let _from = Lent::to(At::Fd(from))?;
    let _to = Lent::to(At::Fd(to))?;
    let _moved = Lent::to_directory(At::Name(from, name.as_bytes()))?;
    let _replaced = Lent::to_directory(At::Name(to, new_name.as_bytes()))?;
    rename()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Duration;

    use rustix::fs::XattrFlags;

    use super::*;
    use crate::disk::lent_modes::hold_modes;
    use crate::types::Caller;
    use crate::types::ROOT_ID;
    use crate::{Config, LowerLayer, Overlay, OverrideStatMode, UpperLayer, XattrTrust};

    fn mode_of(path: &Path) -> u32 {
        let dir = rustix::fs::CWD.as_fd();
        let stat = calls::stat(At::Name(dir, path.as_os_str().as_bytes())).unwrap();
        u32::from(stat.stx_mode) & 0o7777
    }

    fn lend(path: &Path) {
        let _modes = MODES.write();
        let at = At::Name(rustix::fs::CWD.as_fd(), path.as_os_str().as_bytes());
        let lent = Lent::to(at).unwrap();
        assert!(lent.is_some());
    }

    /// One thread lends, another one does something with the mode.
    fn while_lending(path: &Path, test: impl Fn(u32)) {
        std::thread::scope(|threads| {
            let lending = threads.spawn(|| (0..2000).for_each(|_| lend(path)));
            let mut turn = 0;
            while !lending.is_finished() {
                test(turn);
                turn += 1;
            }
        });
    }

    #[test]
    fn what_is_lent_is_not_seen() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("f");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        while_lending(&path, |_| assert_eq!(mode_of(&path), 0o400));
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o400);
    }

    #[test]
    fn what_was_lent_is_taken_back_though_a_write_clears_set_user_id() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("f");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o4500)).unwrap();
        {
            let _modes = MODES.write();
            let at = At::Name(rustix::fs::CWD.as_fd(), path.as_os_str().as_bytes());
            let _lent = Lent::to(at).unwrap().unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        }
        assert_eq!(mode_of(&path), 0o500);
    }

    #[test]
    fn a_mode_that_is_set_while_permissions_are_lent_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("d");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o500)).unwrap();
        while_lending(&path, |turn| {
            let wanted = [0o555, 0o511, 0o510, 0o550][turn as usize % 4];
            {
                let _modes = hold_modes();
                std::fs::set_permissions(&path, Permissions::from_mode(wanted)).unwrap();
            }
            assert_eq!(mode_of(&path), wanted);
        });
    }

    /// `system.posix_acl_access` with nothing but permissions of the owner (acl(5)).
    fn acl_of_owner(permissions: u16) -> Vec<u8> {
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions) in [(0x01_u16, permissions), (0x04, 0), (0x20, 0)] {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(u32::MAX.to_le_bytes());
        }
        acl
    }

    #[test]
    fn an_acl_that_is_set_while_permissions_are_lent_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        for dir in ["lower", "upper", "upper/d", "work"] {
            std::fs::create_dir(at(dir)).unwrap();
        }
        let overlay = Overlay::open(&Config {
            lowers: vec![LowerLayer::new(at("lower"))],
            upper: Some(UpperLayer {
                path: at("upper"),
                work: at("work"),
                records: OverrideStatMode::None,
                marks: XattrTrust::Own,
                archive_names: false,
            }),
            ..Config::default()
        })
        .unwrap();
        let dir = overlay.lookup(ROOT_ID, OsStr::new("d")).unwrap().id;
        let caller = Caller {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            pid: std::process::id(),
            umask: 0,
        };
        let name = OsStr::new("system.posix_acl_access");
        let path = at("upper/d");
        std::fs::set_permissions(&path, Permissions::from_mode(0o500)).unwrap();
        let modes = MODES.write();
        let at = At::Name(rustix::fs::CWD.as_fd(), path.as_os_str().as_bytes());
        let lent = Lent::to(at).unwrap();
        std::thread::scope(|threads| {
            // It gives the same mode that the directory has meanwhile.
            let set = || {
                let (acl, flags) = (acl_of_owner(0o7), XattrFlags::empty());
                overlay.setxattr(&caller, dir, name, &acl, flags)
            };
            let setting = threads.spawn(set);
            std::thread::sleep(Duration::from_millis(50));
            drop(lent);
            drop(modes);
            setting.join().unwrap().unwrap();
        });
        assert_eq!(mode_of(&path), 0o700);
    }
}

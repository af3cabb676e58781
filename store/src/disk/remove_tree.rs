//! Removing a directory tree, whatever is in it.
//!
//! The tree may have been made by a hostile archive or by the user of a container: directories may
//! be closed to their owner, and nest deeper than a process has descriptors or stack. No symbolic
//! link is followed: every step goes from a held directory to a name in it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::{Errno, Result};

/// How deep the removal follows before it moves a directory to the top first.
const STEPS: usize = 32;

/// Removes what `name` in `parent` is: a file, a link, or a directory with everything in it.
///
/// # Errors
/// Those of unlink(2); what could be removed before is gone.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    if unlink(parent, name)? {
        return Ok(());
    }
    let top = open_dir(parent, name)?;
    let mut removal = Removal {
        top: top.as_fd(),
        moved: 0,
    };
    // What was moved to the top shows up in the next round.
    loop {
        let moved = removal.moved;
        removal.empty(top.as_fd(), 0)?;
        if removal.moved == moved {
            return rmdir(parent, name);
        }
    }
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// How many directories were moved to the top.
    moved: usize,
}

impl Removal<'_> {
    /// Removes everything in the directory.
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
        loop {
            let mut found = false;
            for entry in opened(dir, || Dir::read_from(dir))? {
                let entry = entry?;
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                found = true;
                if !unlink(dir, name)? {
                    self.directory(dir, name, depth)?;
                }
            }
            // A listing may miss names while others go, so only an empty one ends it.
            if !found {
                return Ok(());
            }
        }
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
        if depth < STEPS {
            let inner = open_dir(dir, name)?;
            self.empty(inner.as_fd(), depth + 1)?;
            return rmdir(dir, name);
        }
        loop {
            self.moved += 1;
            let place = format!(".plyfs-removed-{}", self.moved);
            match rename(dir, name, self.top, &place) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                other => return other,
            }
        }
    }
}

/// Removes what is no directory; `false` if it is one.
fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    match opened(dir, || rustix::fs::unlinkat(dir, name, AtFlags::empty())) {
        Ok(()) => Ok(true),
        // EISDIR on Linux; EPERM is what POSIX says.
        Err(Errno::ISDIR | Errno::PERM) => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
                rustix::fs::FileType::Directory => Ok(false),
                _ => Err(Errno::PERM),
            }
        }
        Err(errno) => Err(errno),
    }
}

fn rmdir(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    opened(dir, || rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR))
}

fn rename(dir: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, place: &str) -> Result<()> {
    // Moving a directory rewrites its `..`, which needs write permission on it.
    let rename = || rustix::fs::renameat(dir, name, to, place);
    match opened(dir, rename) {
        Err(Errno::ACCESS) => {
            drop(open_dir(dir, name)?);
            rename()
        }
        other => other,
    }
}

/// Opens a directory for listing; if its owner has closed it, opens it up first.
fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(dir, name, flags, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            open()
        }
        other => other,
    }
}

/// Tries again with the directory opened up for its owner if that is what was missing.
fn opened<T>(dir: BorrowedFd<'_>, change: impl Fn() -> Result<T>) -> Result<T> {
    match change() {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(dir, Mode::RWXU)?;
            change()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn remove(parent: &std::path::Path, name: &CStr) -> Result<()> {
        remove_tree(File::open(parent).unwrap().as_fd(), name)
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("tree/a/b")).unwrap();
        fs::create_dir(tmp.path().join("outside")).unwrap();
        fs::write(tmp.path().join("outside/canary"), "x").unwrap();
        symlink("../../outside", tmp.path().join("tree/a/l")).unwrap();
        symlink("outside", tmp.path().join("top")).unwrap();
        remove(tmp.path(), c"tree").unwrap();
        remove(tmp.path(), c"top").unwrap();
        assert!(!tmp.path().join("tree").exists());
        assert!(tmp.path().join("outside/canary").exists());
        assert_eq!(remove(tmp.path(), c"tree"), Err(Errno::NOENT));
    }

    #[test]
    fn closed_directories_are_removed_by_their_owner() {
        let tmp = tempfile::tempdir().unwrap();
        let closed = tmp.path().join("tree/a/closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        for (dir, mode) in [("tree/a/closed", 0), ("tree/a", 0o555)] {
            fs::set_permissions(tmp.path().join(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove(tmp.path(), c"tree").unwrap();
        assert!(!tmp.path().join("tree").exists());
    }

    #[test]
    fn depth_costs_neither_descriptors_nor_stack() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("tree")).unwrap();
        let mut dir = OwnedFd::from(File::open(tmp.path().join("tree")).unwrap());
        for _ in 0..3000 {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            let file = OFlags::CREATE | OFlags::WRONLY;
            drop(rustix::fs::openat(&dir, "f", file, Mode::RUSR).unwrap());
            dir = open_dir(dir.as_fd(), c"d").unwrap();
        }
        drop(dir);
        remove(tmp.path(), c"tree").unwrap();
        assert!(!tmp.path().join("tree").exists());
    }
}

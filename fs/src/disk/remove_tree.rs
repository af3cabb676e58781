//! Removing a tree that no other process can reach.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::disk::dirents::for_each_entry;
use crate::error::{Errno, Result};

/// Removes a name below a directory, with everything in it if it is a directory itself.
///
/// # Errors
/// Those of unlinkat(2) and openat(2). `NOENT` is success: there is nothing left to remove.
pub(crate) fn remove(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    if rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    let mode = crate::disk::calls::stat_name(dir, name.as_bytes())?.stx_mode;
    let opened = open_to_clear(dir, name)?;
    remove_below(opened.as_fd())?;
    // Another process may still look at it.
    if rustix::fs::fstat(&opened)?.st_mode != u32::from(mode) {
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(u32::from(mode)))?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes everything in a directory opened for reading.
///
/// # Errors
/// As [`remove`].
pub(crate) fn remove_below(dir: BorrowedFd<'_>) -> Result<()> {
    // One level a frame of this stack, and not of the thread's, which a deep tree would overflow.
    let mut levels = vec![Level::list(
        dir.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
    )?];
    while let Some(level) = levels.last_mut() {
        let Some((name, is_dir)) = level.names.pop() else {
            let parent = levels.len().checked_sub(2);
            let done = levels.pop().and_then(|level| level.name);
            if let (Some(parent), Some(name)) = (parent, done) {
                rustix::fs::unlinkat(&levels[parent].dir, &name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        if is_dir {
            let child = open_to_clear(level.dir.as_fd(), name.as_c_str())?;
            let mut child = Level::list(child)?;
            child.name = Some(name);
            levels.push(child);
        } else {
            match rustix::fs::unlinkat(&level.dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // A file system that does not tell types in listings.
                Err(Errno::ISDIR) => level.names.push((name, true)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A directory on the way to being empty.
struct Level {
    dir: OwnedFd,
    /// What is left in it, and whether that is a directory.
    names: Vec<(CString, bool)>,
    /// Its own name in the level above; none for the first.
    name: Option<CString>,
}

impl Level {
    fn list(dir: OwnedFd) -> Result<Self> {
        let mut names = Vec::new();
        for_each_entry(dir.as_fd(), |name, kind, _| {
            names.push((name.to_owned(), kind == FileType::Directory));
            Ok(())
        })?;
        Ok(Self {
            dir,
            names,
            name: None,
        })
    }
}

/// Opens a directory to remove what is in it, giving itself permission where it has none.
fn open_to_clear<N: rustix::path::Arg + Copy>(dir: BorrowedFd<'_>, name: N) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(dir, name, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
            return open();
        }
        other => other?,
    };
    if !Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode).contains(Mode::RWXU) {
        rustix::fs::fchmod(&opened, Mode::RWXU)?;
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_tree_goes_and_what_a_link_points_at_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let kept = tmp.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("f"), "x").unwrap();
        let tree = tmp.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/f"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/link")).unwrap();
        let dir = File::open(tmp.path()).unwrap();
        remove(dir.as_fd(), "tree".as_ref()).unwrap();
        assert!(!tree.exists());
        assert!(kept.join("f").exists());
        remove(dir.as_fd(), "tree".as_ref()).unwrap();
    }

    #[test]
    fn a_removed_directory_keeps_its_mode_for_who_has_it_open() {
        use std::os::unix::fs::PermissionsExt;
        let tmp = tempfile::tempdir().unwrap();
        let tree = tmp.path().join("tree");
        fs::create_dir_all(tree.join("x")).unwrap();
        let held = File::open(&tree).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o460)).unwrap();
        let dir = File::open(tmp.path()).unwrap();
        remove(dir.as_fd(), "tree".as_ref()).unwrap();
        assert_eq!(
            held.metadata().unwrap().permissions().mode() & 0o7777,
            0o460
        );
    }

    #[test]
    fn a_directory_without_permissions_goes_too() {
        let tmp = tempfile::tempdir().unwrap();
        let inner = tmp.path().join("tree/inner");
        let dir = File::open(tmp.path()).unwrap();
        for mode in [0, 0o555] {
            fs::create_dir_all(inner.join("x")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&inner, mode).unwrap();
            remove(dir.as_fd(), "tree".as_ref()).unwrap();
            assert!(!tmp.path().join("tree").exists());
        }
    }
}

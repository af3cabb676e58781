//! Work in progress.
//!
//! What is not finished lives in `staging/UNIQUE/` and moves from there to its place by one rename.
//! The directory is locked (flock(2)) for as long as its process works in it. If that process dies,
//! the kernel lets go of the lock, and the next process that works in the store removes what it left.
//!
//! A directory is made and locked under a shared lock of `staging/` itself, and looked at for
//! removal under an exclusive one, so that none is taken for a leftover before it is locked.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::remove_tree::remove_tree;
use crate::error::{Context, Result};

/// A directory of one piece of work, removed when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    parent: OwnedFd,
    /// Holds the lock.
    dir: OwnedFd,
}

/// Opens a directory to lock it and to work below it, and not what a link leads to.
pub(crate) fn open_dir(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Waits for a lock.
pub(crate) fn lock(fd: impl AsFd, operation: FlockOperation) -> std::result::Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation))
}

impl Staging {
    /// Makes a new directory below `staging`, locked.
    pub(crate) fn create(staging: &Path) -> Result<Self> {
        let parent = open_dir(staging).context("open", staging)?;
        lock(&parent, FlockOperation::LockShared).context("lock", staging)?;
        loop {
            let name = unique_name();
            let path = staging.join(&name);
            match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
                // A leftover of an older process with this number.
                Err(Errno::EXIST) => continue,
                made => made.context("create", &path)?,
            }
            let dir = open_dir(&path).context("open", &path)?;
            lock(&dir, FlockOperation::LockExclusive).context("lock", &path)?;
            lock(&parent, FlockOperation::Unlock).context("unlock", staging)?;
            let staging = Self { path, parent, dir };
            staging.make_plain()?;
            return Ok(staging);
        }
    }

    /// Frees the directory from what it may have inherited: a set-group-id bit and a default ACL
    /// would change every file made below it.
    fn make_plain(&self) -> Result<()> {
        rustix::fs::fchmod(&self.dir, Mode::RWXU).context("change the mode of", &self.path)?;
        for attribute in ["system.posix_acl_default", "system.posix_acl_access"] {
            match rustix::fs::fremovexattr(&self.dir, attribute) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                other => other.context("remove the access control list of", &self.path)?,
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Makes an empty file, for this user only.
    pub(crate) fn create_file(&self, name: &str) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(&self.dir, name, flags, mode);
        fd.context("create", &self.path.join(name)).map(File::from)
    }

    /// Writes a file, synced, that is to be moved to its place.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        let mut file = self.create_file(name)?;
        file.write_all(bytes).context("write", &path)?;
        file.sync_all().context("sync", &path)?;
        Ok(path)
    }

    /// Writes a file to its place in one step: a reader sees the old one or the new one, after
    /// a crash as well.
    pub(crate) fn publish_file(&self, name: &str, bytes: &[u8], place: &Path) -> Result<()> {
        let path = self.write(name, bytes)?;
        std::fs::rename(&path, place).context("publish", place)?;
        match place.parent() {
            Some(parent) => sync_dir(parent),
            None => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let name = self.path.file_name().unwrap_or_default();
        if let Err(error) = remove_named(self.parent.as_fd(), name.as_bytes()) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A name below `staging` that no other work of this process has.
fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}", std::process::id())
}

/// Removes a file or a directory of the store with everything in it. It leaves its place in one step, for
/// `staging`, where it is a leftover if this process ends before all of it is removed.
///
/// No directory is made for that, so a full disk is no obstacle.
pub(crate) fn discard(staging: &Path, what: &Path) -> Result<()> {
    let parent = open_dir(staging).context("open", staging)?;
    // The lock tells a sweep that a process works on it. A caller that has it locked already serves as well, and
    // what cannot be opened here cannot be swept either.
    let dir = open_dir(what);
    if let Ok(dir) = &dir
        && let Err(errno) = lock(dir, FlockOperation::NonBlockingLockExclusive)
    {
        log::debug!("{}: {errno}", what.display());
    }
    let name = loop {
        let name = unique_name();
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(rustix::fs::CWD, what, &parent, &name, flags) {
            Err(Errno::EXIST) => {}
            // Not every file system has NOREPLACE. A leftover directory of this name is not empty, or replaced.
            Err(Errno::INVAL) => {
                rustix::fs::renameat(rustix::fs::CWD, what, &parent, &name)
                    .context("remove", what)?;
                break name;
            }
            renamed => {
                renamed.context("remove", what)?;
                break name;
            }
        }
    };
    if let Err(error) = remove_named(parent.as_fd(), name.as_bytes()) {
        log::warn!("cannot remove {}: {error}", staging.join(name).display());
    }
    Ok(())
}

fn remove_named(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<(), Errno> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::INVAL)?;
    remove_tree(parent, &name)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    let dir = open_dir(path).context("open", path)?;
    rustix::fs::fsync(&dir).context("sync", path)
}

/// Removes what dead processes left below `staging`. What cannot be removed (an ordinary user
/// cannot remove what was made with other ids in a user namespace) is no obstacle to anything and
/// stays.
pub(crate) fn sweep(staging: &Path) -> Result<()> {
    let parent = open_dir(staging).context("open", staging)?;
    // Another process makes a directory at this moment: the next import will sweep.
    match lock(&parent, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(()),
        locked => locked.context("lock", staging)?,
    }
    let mut leftovers = Vec::new();
    for entry in std::fs::read_dir(staging).context("list", staging)? {
        let name = entry.context("list", staging)?.file_name();
        let free = open_dir(&staging.join(&name)).and_then(|dir| {
            lock(&dir, FlockOperation::NonBlockingLockExclusive)?;
            Ok(dir)
        });
        match free {
            Ok(dir) => leftovers.push((name, Some(dir))),
            // Not a directory: a file has no owner here.
            Err(Errno::NOTDIR | Errno::LOOP) => leftovers.push((name, None)),
            // In use, gone again, or not ours to open.
            Err(_) => {}
        }
    }
    lock(&parent, FlockOperation::Unlock).context("unlock", staging)?;
    for (name, _locked) in leftovers {
        let path = staging.join(&name);
        match remove_named(parent.as_fd(), name.as_bytes()) {
            Ok(()) => log::info!("removed {}, left by an interrupted process", path.display()),
            // Made with other ids in a user namespace: a process in such a namespace can remove it.
            Err(error @ (Errno::ACCESS | Errno::PERM)) => {
                log::info!("cannot remove {}: {error}", path.display());
            }
            Err(error) => log::warn!("cannot remove {}: {error}", path.display()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_not_swept() {
        let tmp = tempfile::tempdir().unwrap();
        let staging = Staging::create(tmp.path()).unwrap();
        std::fs::write(staging.path().join("f"), "x").unwrap();
        std::fs::create_dir_all(tmp.path().join("1-0/tree")).unwrap();
        std::fs::write(tmp.path().join("file"), "x").unwrap();
        sweep(tmp.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(tmp.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert!(staging.path().join("f").exists());
        drop(staging);
        assert!(std::fs::read_dir(tmp.path()).unwrap().next().is_none());
    }

    #[test]
    fn what_is_discarded_needs_no_directory_of_its_own() {
        let tmp = tempfile::tempdir().unwrap();
        let staging = tmp.path().join("staging");
        std::fs::create_dir(&staging).unwrap();
        std::fs::create_dir_all(tmp.path().join("tree/a")).unwrap();
        std::fs::write(tmp.path().join("file"), "x").unwrap();
        for name in ["tree", "file"] {
            discard(&staging, &tmp.path().join(name)).unwrap();
            assert!(!tmp.path().join(name).exists());
        }
        assert!(std::fs::read_dir(&staging).unwrap().next().is_none());
        let error = discard(&staging, &tmp.path().join("tree")).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOENT));
    }

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let tmp = tempfile::tempdir().unwrap();
        let place = tmp.path().join("index.json");
        std::fs::create_dir(tmp.path().join("staging")).unwrap();
        let staging = Staging::create(&tmp.path().join("staging")).unwrap();
        for text in ["old", "new"] {
            staging.publish_file("i", text.as_bytes(), &place).unwrap();
            assert_eq!(std::fs::read_to_string(&place).unwrap(), text);
        }
        assert!(std::fs::read_dir(staging.path()).unwrap().next().is_none());
    }
}

//! The work directory, where everything is made before it gets a name in the upper layer.
//!
//! As in the kernel's overlay, the directory given as `workdir` holds a directory `work`. What is in
//! there is unfinished: it is emptied when an overlay is opened, so that nothing a crash left behind
//! can ever be taken for something else, and every name in it is made exclusively. Publishing is one
//! rename or link from there into the upper layer.
//!
//! The directory given is locked (flock(2)) as long as the overlay is open: two mounts that share
//! one would take each other's work for leftovers.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use plyfs_format::whiteout;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};

use crate::config::Volatile;
use crate::disk::attribute_names::{ACCESS_ACL, DEFAULT_ACL};
use crate::disk::dirents::for_each_entry;
use crate::disk::remove_tree::remove_below;
use crate::error::{Errno, Result};
use crate::layer::rename_flags::{self, Moves};
use crate::open_error::MountError;

/// The directory in the one that is given.
const NAME: &str = "work";

/// The opened work directory.
#[derive(Debug)]
pub(crate) struct Work {
    /// `workdir/work`.
    dir: OwnedFd,
    /// Where things are made, if not there.
    stage: Option<Arc<OwnedFd>>,
    /// `workdir` itself, which is locked.
    outer: OwnedFd,
    next: AtomicU64,
    /// The name of a whiteout that others are linked to, once there is one.
    whiteout: RwLock<Option<OsString>>,
    /// Whether whiteouts are files called `.wh.NAME`, beside the name, since devices are refused.
    files: bool,
    /// Whether such files are read.
    reads_files: bool,
    moves: Moves,
}

impl Work {
    /// Locks, empties and probes the work directory. `archive_names` says that whiteouts may be files.
    ///
    /// # Errors
    /// `InUse` if another mount holds it; `Incompatible` if another left a mark that this one does not
    /// know how to go on after; otherwise what could not be done in it.
    pub(crate) fn open(
        path: &Path,
        volatile: Volatile,
        archive_names: bool,
    ) -> std::result::Result<Self, MountError> {
        let failed = |action| {
            move |errno| MountError::Work {
                action,
                path: path.to_owned(),
                errno,
            }
        };
        let lock = lock(path)?;
        let dir = make_dir(lock.as_fd(), NAME).map_err(failed("make a directory"))?;
        if volatile != Volatile::Unmarked
            && let Some(feature) = incompatible(dir.as_fd()).map_err(failed("look for marks"))?
        {
            return Err(MountError::Incompatible {
                feature,
                path: path.join(NAME),
            });
        }
        // Only now: what another mount holds, or left a mark beside, is not ours to remove.
        remove_below(dir.as_fd()).map_err(failed("remove leftovers"))?;
        if matches!(volatile, Volatile::Marked | Volatile::MarkedWhileOpen) {
            mark_volatile(dir.as_fd()).map_err(failed("leave the mark of a volatile mount"))?;
        }
        let mut work = Self {
            dir,
            stage: None,
            outer: lock,
            next: AtomicU64::new(0),
            whiteout: RwLock::new(None),
            files: false,
            reads_files: archive_names,
            moves: Moves::default(),
        };
        work.probe()
            .map_err(|(action, errno)| failed(action)(errno))?;
        Ok(work)
    }

    /// Learns what the file system of the upper layer can do.
    ///
    /// # Errors
    /// What it must be able to do, and why it cannot.
    fn probe(&mut self) -> std::result::Result<(), (&'static str, Errno)> {
        if self.reads_files
            && let Err(errno) = self.probe_whiteout()
        {
            log::info!("whiteouts are files here, since devices are refused: {errno}");
            self.files = true;
        }
        self.probe_moves().map_err(|errno| ("move files", errno))?;
        // A rename that leaves a whiteout has made one.
        if !self.files && !self.moves.whiteout {
            let action = "make whiteouts, which ext4, xfs, btrfs and tmpfs can hold,";
            self.probe_whiteout().map_err(|errno| (action, errno))?;
        }
        self.warn_of_missing_moves();
        Ok(())
    }

    /// The directory to make things in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.stage.as_deref().unwrap_or(&self.dir).as_fd()
    }

    /// Makes everything in another directory from now on, as the kernel's overlay does in the index.
    /// The next mount that opens it removes what is left there.
    pub(super) fn stage_in(&mut self, dir: Arc<OwnedFd>) {
        self.stage = Some(dir);
        *self.whiteout.get_mut() = None;
    }

    /// The directory that was given, which holds that one.
    pub(crate) fn outer(&self) -> BorrowedFd<'_> {
        self.outer.as_fd()
    }

    /// Takes the mark of a volatile mount away.
    pub(crate) fn unmark(&self) -> Result<()> {
        crate::disk::remove_tree::remove(self.dir.as_fd(), INCOMPAT.as_ref())
    }

    /// A name that was not used before.
    pub(crate) fn temp_name(&self) -> OsString {
        OsString::from(format!("#{:x}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether whiteouts are files beside the name, and do not take its place.
    pub(crate) fn writes_files(&self) -> bool {
        self.files
    }

    /// Makes a whiteout of a name, which is a file of another name.
    ///
    /// # Errors
    /// Those of openat(2).
    pub(super) fn make_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let whiteout = [whiteout::PREFIX, name.as_bytes()].concat();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, &*whiteout, flags, Mode::RUSR | Mode::WUSR) {
            // It does not hide what stands beside it, so that it may be there still.
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Makes a whiteout under a name that does not exist yet.
    ///
    /// One whiteout serves as the inode of all, as far as links reach: it has no content of its own.
    ///
    /// # Errors
    /// `EXIST` if there is something of that name, and those of mknodat(2).
    pub(crate) fn make_whiteout(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        if self.files {
            return self.make_file(dir, name);
        }
        if let Some(shared) = &*self.whiteout.read() {
            match rustix::fs::linkat(self.dir(), shared, dir, name, AtFlags::empty()) {
                Err(Errno::EXIST) => return Err(Errno::EXIST),
                // Too many links, or a file system without them: one of its own.
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        mknod_whiteout(dir, name)?;
        let shared = self.temp_name();
        // Without a link to share, the next whiteout is made like this one.
        if rustix::fs::linkat(dir, name, self.dir(), &shared, AtFlags::empty()).is_ok() {
            *self.whiteout.write() = Some(shared);
        }
        Ok(())
    }

    /// A whiteout in the work directory, to be moved; returns its name.
    pub(crate) fn stage_whiteout(&self) -> Result<OsString> {
        let name = self.temp_name();
        self.make_whiteout(self.dir(), &name)?;
        Ok(name)
    }

    /// Removes what was staged, after the step that should have published it failed, or what was
    /// exchanged for it. Failure leaves a leftover for the next mount to remove.
    pub(crate) fn discard(&self, name: &OsStr) {
        if let Err(errno) = crate::disk::remove_tree::remove(self.dir(), name) {
            log::warn!("work directory: leaving {}: {errno}", name.display());
        }
    }

    /// Tries to make a whiteout that is a device. A file system, or what filters system calls, may refuse it.
    fn probe_whiteout(&self) -> Result<()> {
        let name = self.temp_name();
        mknod_whiteout(self.dir.as_fd(), &name)?;
        self.discard(&name);
        Ok(())
    }

    /// Learns in which steps changes are published here.
    fn probe_moves(&mut self) -> Result<()> {
        let (one, other) = (self.temp_name(), self.temp_name());
        let found = rename_flags::probe(self.dir.as_fd(), (&one, &other), !self.files);
        self.discard(&one);
        self.discard(&other);
        self.moves = found?;
        Ok(())
    }

    /// Warns where some changes take several steps, as the kernel's overlay does.
    fn warn_of_missing_moves(&self) {
        let missing = self.moves.missing(!self.files);
        if !missing.is_empty() {
            log::warn!(
                "the file system of the upper directory has no {}: some changes take several steps, and a crash \
                 in between can show names of lower layers that were removed or moved",
                missing.join(", ")
            );
        }
    }

    /// What moves in one step.
    pub(crate) fn moves(&self) -> Moves {
        self.moves
    }

    /// Whether whiteouts that are files count in the upper layer.
    pub(crate) fn reads_files(&self) -> bool {
        self.reads_files
    }

    /// Goes on as on a file system that moves like this.
    #[cfg(test)]
    pub(super) fn pretend(&mut self, moves: Moves) {
        self.moves = moves;
    }
}

impl Work {
    /// Makes sure that whiteouts can be files where they cannot be devices. On a mount of fuse-overlayfs, and of
    /// plyfs under that name, they can be neither, and nothing that a lower layer has could be removed.
    ///
    /// # Errors
    /// `NoWhiteouts`.
    pub(super) fn prove_files(&self, path: &Path) -> std::result::Result<(), MountError> {
        if !self.files {
            return Ok(());
        }
        let name = self.temp_name();
        let made = self.make_file(self.dir.as_fd(), &name);
        made.map_err(|errno| MountError::NoWhiteouts {
            path: path.to_owned(),
            errno,
        })?;
        self.discard(OsStr::from_bytes(
            &[whiteout::PREFIX, name.as_bytes()].concat(),
        ));
        Ok(())
    }
}

/// Opens the directory that was given and takes it for this mount alone (flock(2)).
fn lock(path: &Path) -> std::result::Result<OwnedFd, MountError> {
    let path = || path.to_owned();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let role = "work";
    let lock = rustix::fs::open(path(), flags, Mode::empty()).map_err(|errno| {
        let path = path();
        MountError::Open { role, path, errno }
    })?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(MountError::InUse { role, path: path() }),
        Err(errno) => Err(MountError::Work {
            action: "take the lock",
            path: path(),
            errno,
        }),
    }
}

fn mknod_whiteout(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// What marks are in, of features that not every mounter knows how to go on after.
const INCOMPAT: &str = "incompat";

/// The name of such a feature, if a mount has left one.
fn incompatible(work: BorrowedFd<'_>) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(work, INCOMPAT, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other?,
    };
    let mut found = None;
    for_each_entry(dir.as_fd(), |name, _, _| {
        found = Some(name.to_string_lossy().into_owned());
        Ok(())
    })?;
    Ok(found)
}

/// Leaves the mark that the kernel's overlay leaves.
fn mark_volatile(work: BorrowedFd<'_>) -> Result<()> {
    let mode = Mode::RWXU;
    rustix::fs::mkdirat(work, INCOMPAT, mode)?;
    rustix::fs::mkdirat(work, "incompat/volatile", mode)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let dirty = rustix::fs::openat(work, "incompat/volatile/dirty", flags, Mode::RUSR)?;
    rustix::fs::fsync(dirty)
}

/// Makes and opens a directory in the one that was given.
pub(super) fn make_dir(workdir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(workdir, name, Mode::RWXU) {
        Err(Errno::EXIST) => {
            // The kernel makes it with no permissions at all.
            rustix::fs::chmodat(workdir, name, Mode::RWXU, AtFlags::empty())?;
        }
        other => other?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(workdir, name, flags, Mode::empty())?;
    // What is made here must not inherit an ACL that the place it will be moved to does not have.
    for acl in [DEFAULT_ACL, ACCESS_ACL] {
        match rustix::fs::fremovexattr(&dir, acl) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    // Mode 0000 keeps others out. With CAP_DAC_OVERRIDE the daemon can still enter; trying tells.
    rustix::fs::fchmod(&dir, Mode::empty())?;
    let passes = rustix::fs::openat(&dir, ".", flags, Mode::empty()).is_ok();
    if !passes {
        rustix::fs::fchmod(&dir, Mode::RWXU)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;

    #[test]
    fn leftovers_are_removed_and_the_directory_is_locked() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("work/#0/x")).unwrap();
        fs::write(tmp.path().join("work/#1"), "half a file").unwrap();
        let work = Work::open(tmp.path(), Volatile::No, false).unwrap();
        assert_eq!(fs::read_dir(tmp.path().join("work")).unwrap().count(), 0);
        let second = Work::open(tmp.path(), Volatile::No, false);
        assert!(matches!(second, Err(MountError::InUse { .. })));
        drop(work);
        Work::open(tmp.path(), Volatile::No, false).unwrap();
    }

    #[test]
    fn a_volatile_mount_leaves_its_mark() {
        let tmp = tempfile::tempdir().unwrap();
        drop(Work::open(tmp.path(), Volatile::Marked, false).unwrap());
        for volatile in [Volatile::No, Volatile::Marked] {
            let refused = Work::open(tmp.path(), volatile, false).unwrap_err();
            assert!(refused.to_string().contains("volatile"), "{refused}");
            assert_eq!(refused.errno(), Errno::INVAL);
        }
        drop(Work::open(tmp.path(), Volatile::Unmarked, false).unwrap());
        let work = Work::open(tmp.path(), Volatile::MarkedWhileOpen, false).unwrap();
        work.unmark().unwrap();
        drop(work);
        Work::open(tmp.path(), Volatile::No, false).unwrap();
    }

    #[test]
    fn whiteouts_share_one_inode() {
        let tmp = tempfile::tempdir().unwrap();
        let upper = tempfile::tempdir().unwrap();
        let work = Work::open(tmp.path(), Volatile::No, false).unwrap();
        let dir = fs::File::open(upper.path()).unwrap();
        let inodes: Vec<u64> = ["a", "b", "c"]
            .iter()
            .map(|name| {
                work.make_whiteout(dir.as_fd(), name.as_ref()).unwrap();
                let meta = fs::symlink_metadata(upper.path().join(name)).unwrap();
                assert!(meta.file_type().is_char_device());
                assert_eq!(meta.rdev(), 0);
                meta.ino()
            })
            .collect();
        assert_eq!(inodes[0], inodes[1]);
        assert_eq!(inodes[1], inodes[2]);
        let again = work.make_whiteout(dir.as_fd(), "a".as_ref());
        assert_eq!(again, Err(Errno::EXIST));
    }
}

//! The mark of an upper layer that the kernel's overlay has served.
//!
//! To the kernel's overlay an `override_stat` record is an attribute like any other, which its users can
//! write. So plyfs marks an upper layer before the kernel's overlay serves it, and does not believe
//! records in a layer with the mark.
//!
//! The mark is an attribute of the work directory, which no user of a mount reaches, and of the root of
//! the upper layer, in case that is used without its work directory. There its name begins as those of
//! the overlay's own records, which the kernel keeps from users.
//!
//! Opening an upper layer with records takes the mark away. Before, the records are removed if users of
//! the kernel's overlay wrote all of them ([`MarkedUpper::Clean`]); otherwise a layer that has any is
//! refused.
//!
//! # Invariants
//!
//! - The mark is durable before the kernel's overlay can be used, and the removal of the records is
//!   durable before that of the mark.
//! - No symbolic link in the layer is followed.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use plyfs_format::names::{self, Namespace};
use plyfs_sys::xattr::{self, At};
use rustix::fs::{FileType, Mode, OFlags, XattrFlags};

use crate::config::MarkedUpper;
use crate::disk::dirents::for_each_entry;
use crate::error::{Errno, Result, decided};
use crate::open_error::MountError;

/// Marks an upper layer that the kernel's overlay is about to serve, and makes the mark durable.
/// `namespace` is where that overlay keeps its own records.
///
/// # Errors
/// Those of open(2), setxattr(2) and fsync(2).
pub fn mark_served_by_kernel(upper: &Path, work: &Path, namespace: Namespace) -> Result<()> {
    let user = Namespace::User.served_by_kernel();
    let own = namespace.served_by_kernel();
    // A later mount in a user namespace cannot read `trusted.*`.
    match mark(work, user) {
        Err(Errno::OPNOTSUPP | Errno::PERM) if namespace == Namespace::Trusted => mark(work, own)?,
        marked => marked?,
    }
    mark(upper, own)
}

fn mark(dir: &Path, name: &CStr) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let at = At::Fd(dir.as_fd());
    if xattr::get_all(at, name)?.is_some() {
        return Ok(());
    }
    xattr::set(at, name, b"y", XattrFlags::empty())?;
    rustix::fs::fsync(&dir)
}

/// Whether an upper layer has the mark, or may have it. Without `work` that is not known in a user
/// namespace of a layer that the superuser of the machine had served.
pub fn was_served_by_kernel(upper: &Path, work: Option<&Path>) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let marked = |dir: &Path| match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(dir) => is_marked(dir.as_fd()).unwrap_or(true),
        // Opening it as a layer fails, too, and names the reason.
        Err(_) => false,
    };
    marked(upper) || work.is_some_and(marked)
}

fn is_marked(dir: BorrowedFd<'_>) -> Result<bool> {
    for namespace in [Namespace::User, Namespace::Trusted] {
        if xattr::get_all(At::Fd(dir), namespace.served_by_kernel())?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes sure that every record in an upper layer can be believed. The layer and its work directory are
/// locked.
///
/// # Errors
/// `Forgeable` if there are records and `how` is to refuse them, `Clean` if a system call fails.
pub(crate) fn settle(
    upper: (&Path, BorrowedFd<'_>),
    work: (&Path, BorrowedFd<'_>),
    how: MarkedUpper,
) -> std::result::Result<(), MountError> {
    let failed = |errno| MountError::Clean {
        path: upper.0.to_owned(),
        errno,
    };
    if !is_marked(upper.1).map_err(failed)? && !is_marked(work.1).map_err(failed)? {
        return Ok(());
    }
    let mut walk = Walk { how, removed: 0 };
    for (path, dir, name) in [(upper.0, upper.1, c"."), (work.0, work.1, c"index")] {
        // A file of the index may have no other name in the upper layer.
        let found = match walk.tree(dir, name) {
            Err(Errno::NOENT) if name == c"index" => None,
            found => found.map_err(failed)?,
        };
        if let Some((below, name)) = found {
            return Err(MountError::Forgeable {
                record: name.to_string_lossy().into_owned(),
                file: path.join(below),
                upper: upper.0.to_owned(),
                work: work.0.to_owned(),
            });
        }
    }
    if walk.removed > 0 {
        log::info!(
            "removed {} attributes that users of the kernel's overlay wrote where plyfs keeps records",
            walk.removed
        );
        let root = open(upper.1, b".").map_err(failed)?;
        rustix::fs::syncfs(root).map_err(failed)?;
    }
    // That of the work directory last: every user namespace can read it.
    for dir in [upper.1, work.1] {
        unmark(dir).map_err(failed)?;
    }
    Ok(())
}

fn unmark(dir: BorrowedFd<'_>) -> Result<()> {
    let dir = open(dir, b".")?;
    for namespace in [Namespace::Trusted, Namespace::User] {
        match xattr::remove(At::Fd(dir.as_fd()), namespace.served_by_kernel()) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            // In a user namespace `trusted.*` can be neither read nor removed.
            Err(Errno::PERM) if namespace == Namespace::Trusted => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::fsync(&dir)
}

/// A walk through a tree for attributes that are records in some mode.
struct Walk {
    how: MarkedUpper,
    removed: u64,
}

/// A directory on the way: its name below the one above, a descriptor for listing, and the directories
/// in it that are left to be walked.
struct Level {
    name: CString,
    dir: OwnedFd,
    left: Vec<CString>,
}

impl Walk {
    /// Walks a directory and all below it, following no link. Returns the first record, and where it is,
    /// if they are not to be removed.
    fn tree(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<Option<(PathBuf, CString)>> {
        let path = |levels: &[Level], name: Option<&CStr>| {
            let above = levels.iter().map(|level| level.name.as_c_str());
            let all = above.chain(name).filter(|name| *name != c".");
            all.map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()))
                .collect()
        };
        let root = self.level(parent, name)?;
        if let Some(record) = self.object(root.dir.as_fd(), c".")? {
            return Ok(Some((path(&[root], None), record)));
        }
        let mut levels = vec![root];
        // A list, not recursion: a tree may be deeper than the stack of a thread.
        let mut is_new = true;
        while let Some(level) = levels.last_mut() {
            if is_new {
                let mut names = Vec::new();
                for_each_entry(level.dir.as_fd(), |name, kind, _| {
                    names.push((name.to_owned(), kind));
                    Ok(())
                })?;
                for (name, kind) in names {
                    if let Some(record) = self.object(level.dir.as_fd(), &name)? {
                        return Ok(Some((path(&levels, Some(&name)), record)));
                    }
                    match kind {
                        FileType::Directory => level.left.push(name),
                        // A file system that does not tell types in listings.
                        FileType::Unknown if is_dir(level.dir.as_fd(), &name)? => {
                            level.left.push(name);
                        }
                        _ => {}
                    }
                }
            }
            let Some(name) = level.left.pop() else {
                levels.pop();
                is_new = false;
                continue;
            };
            let next = self.level(level.dir.as_fd(), &name)?;
            levels.push(next);
            is_new = true;
        }
        Ok(None)
    }

    fn level(&self, parent: BorrowedFd<'_>, name: &CStr) -> Result<Level> {
        Ok(Level {
            name: name.to_owned(),
            dir: open(parent, name.to_bytes())?,
            left: Vec::new(),
        })
    }

    /// Looks at one object. Returns its first record if it is not to be removed.
    pub(crate) fn object(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<CString>> {
        let at = At::Name(dir, name.to_bytes());
        let listed = xattr::list(at)?;
        let mut names = listed.split(|byte| *byte == 0);
        while let Some(record) = names.find(|name| names::is_override_record(name)) {
            let record = CString::new(record).map_err(|_| decided(Errno::INVAL))?;
            if self.how == MarkedUpper::Refuse {
                return Ok(Some(record));
            }
            xattr::remove(at, &record)?;
            self.removed += 1;
        }
        Ok(None)
    }
}

fn is_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    let stat = crate::disk::calls::stat_name(dir, name.to_bytes())?;
    Ok(FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::Directory)
}

/// Opens a directory for reading, and no symbolic link.
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

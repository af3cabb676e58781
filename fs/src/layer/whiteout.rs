//! Whiteouts and opaque directories, as they are found in a layer and made in the upper one.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use plyfs_format::names::{Namespace, Record};
use plyfs_format::whiteout;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{Mode, OFlags, Statx, XattrFlags};

use crate::Overlay;
use crate::disk::calls::{self, stat, stat_name, stat_of_absent};
use crate::disk::owner_mode::with_permission;
use crate::disk::remove_tree::for_each_entry;
use crate::error::{Errno, Result};
use crate::inode::listing::Source;
use crate::inode::node::Names;
use crate::layer::lower::{Layer, Name};
use crate::ops::copy_up::set_times_of;
use crate::ops::create::Site;
use crate::overlay::open::Upper;

/// Whether an object is a whiteout.
pub(crate) fn is_whiteout(stat: &Statx) -> bool {
    whiteout::is_whiteout(
        u32::from(stat.stx_mode),
        stat.stx_rdev_major,
        stat.stx_rdev_minor,
    )
}

/// Makes a directory opaque.
///
/// # Errors
/// Those of setxattr(2).
pub(crate) fn set_opaque(at: At<'_>, namespace: Namespace) -> Result<()> {
    let name = namespace.name(Record::Opaque);
    with_permission(at, || xattr::set(at, name, b"y", XattrFlags::empty()))
}

impl Upper {
    /// Makes a directory opaque, for all readers of this layer: where whiteouts may be files, tools look for
    /// a file, too.
    ///
    /// # Errors
    /// Those of setxattr(2) and openat(2).
    pub(crate) fn hide_below(&self, at: At<'_>) -> Result<()> {
        match set_opaque(at, self.namespace) {
            // The file says it, too.
            Err(Errno::OPNOTSUPP) if self.layer.archive_names => {}
            other => other?,
        }
        if !self.layer.archive_names {
            return Ok(());
        }
        let (dir, path) = match at {
            At::Fd(fd) => (fd, whiteout::OPAQUE.to_vec()),
            At::Name(dir, name) => (dir, [name, b"/", whiteout::OPAQUE].concat()),
        };
        let before = stat(at)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => Ok(()),
            // A mark is no change of the directory.
            made => made.and_then(|_| set_times_of(at, &before)),
        }
    }
}

impl Layer {
    /// Whether a name is one of those that whiteouts in the form of files have.
    pub(crate) fn is_archive_name(&self, name: &OsStr) -> bool {
        self.archive_names && name.as_bytes().starts_with(whiteout::PREFIX)
    }

    /// Whether a directory holds a whiteout, in the form of a file, of a name that it does not hold.
    pub(crate) fn has_archive_whiteout(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
        if !self.archive_names {
            return Ok(false);
        }
        let whiteout = [whiteout::PREFIX, name.as_bytes()].concat();
        match stat_of_absent(stat_name(dir, &whiteout)) {
            Err(Errno::NAMETOOLONG) => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    /// Whether a directory below another is opaque by a file in it.
    pub(crate) fn is_archive_opaque(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
        if !self.archive_names {
            return Ok(false);
        }
        let marker = [name.as_bytes(), b"/", whiteout::OPAQUE].concat();
        Ok(stat_of_absent(stat_name(dir, &marker))?.is_some())
    }
}

impl Overlay {
    /// Makes a directory that is to have this name hide what the layers below show there. Where the file system has
    /// no attributes, every name there gets a whiteout in the directory.
    ///
    /// Returns whether it did so: the directory is merged with those below then.
    ///
    /// # Errors
    /// Those of setxattr(2), and of listing and making whiteouts.
    pub(crate) fn hide_lower(
        &self,
        site: &Site<'_>,
        at: At<'_>,
        names: &Names,
        name: &OsStr,
    ) -> Result<bool> {
        match site.upper.hide_below(at) {
            Err(Errno::OPNOTSUPP) => {}
            other => return other.map(|()| false),
        }
        let below = self.search(site.parent, names, &Name::from(name), Source::Lower(0))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.fds.open(|| calls::open(at, flags))?;
        let mut merged = false;
        for lower in below.iter().flat_map(|found| &found.lowers) {
            merged = true;
            let lower = lower.open(&self.lowers, &self.fds)?;
            let lower = self
                .fds
                .open(|| calls::open(At::Fd(lower.as_fd()), flags))?;
            for_each_entry(lower.as_fd(), |name, _, _| {
                let name = OsStr::from_bytes(name.to_bytes());
                match site.upper.work.make_whiteout(dir.as_fd(), name) {
                    Err(Errno::EXIST) => Ok(()),
                    made => made,
                }
            })?;
        }
        Ok(merged)
    }

    /// Whether the lower directories of a directory, whose names the caller has locked, show something
    /// under a name, which a whiteout then has to hide.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(crate) fn lower_positive(&self, names: &Names, name: &OsStr) -> Result<bool> {
        match self.listing_of(names).map(|listing| listing.source(name)) {
            Some(Source::Upper) => return Ok(false),
            Some(Source::Lower(_)) => return Ok(true),
            Some(Source::Unknown) | None => {}
        }
        for lower in &names.lowers {
            let dir = lower.open(&self.lowers, &self.fds)?;
            let layer = &self.lowers[usize::from(lower.layer)];
            let found = stat_of_absent(stat_name(dir.as_fd(), name.as_bytes()))?;
            if let Some(stat) = found {
                let at = At::Name(dir.as_fd(), name.as_bytes());
                return Ok(!self.hides(lower, at, &stat)?);
            }
            if layer.has_archive_whiteout(dir.as_fd(), name)? {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

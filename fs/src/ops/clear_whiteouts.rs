//! Making a directory that shows nothing empty on disk, so that rename(2) can replace it.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::At;
use rustix::fs::{Mode, OFlags, RenameFlags};

use crate::Overlay;
use crate::disk::{calls, owner_mode};
use crate::error::{Errno, Result};
use crate::inode::dir::Names;
use crate::layer::opaque::set_opaque;
use crate::layer::publish::Aside;
use crate::layer::upper::Upper;
use crate::ops::upper_parent::UpperParent;
use crate::types::PERMISSIONS;

/// Marks a directory that is about to be replaced. Without attributes it hides nothing: no directory is moved there
/// over one that does, unless whiteouts may be files.
fn set_opaque_if_possible(at: At<'_>, upper: &Upper) -> Result<()> {
    match set_opaque(at, upper.namespace) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => other,
    }
}

/// Removes all that is in a directory.
pub(super) fn empty(at: At<'_>) -> Result<()> {
    let dir = calls::open(at, OFlags::RDONLY | OFlags::DIRECTORY)?;
    crate::disk::remove_tree::remove_below(dir.as_fd())
}

/// Whether a directory on disk holds nothing at all.
fn is_bare(upper_parent: &UpperParent<'_>, name: &OsStr) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = calls::open(At::Name(upper_parent.dir.as_fd(), name.as_bytes()), flags)?;
    let mut bare = true;
    crate::disk::dirents::for_each_entry(dir.as_fd(), |_, _, _| {
        bare = false;
        Ok(())
    })?;
    Ok(bare)
}

impl Overlay {
    /// Puts an empty directory in the place of one that shows nothing but holds whiteouts, since
    /// rename(2) replaces no other. Returns the directory if it was moved aside instead.
    pub(super) fn clear_whiteouts<'s>(
        &self,
        upper_parent: &'s UpperParent<'_>,
        name: &'s OsStr,
        victim: &Names,
    ) -> Result<Option<Aside<'s>>> {
        if victim.lowers.is_empty() && is_bare(upper_parent, name)? {
            return Ok(None);
        }
        let work = &upper_parent.upper.work;
        let at = At::Name(upper_parent.dir.as_fd(), name.as_bytes());
        if work.reads_files() {
            match set_opaque(at, upper_parent.upper.namespace) {
                // Nothing but what is in it says what it hides.
                Err(Errno::OPNOTSUPP) => {
                    return work.set_aside((upper_parent.dir.as_fd(), name)).map(Some);
                }
                other => other?,
            }
        }
        if !work.moves().exchange {
            // It shows no more without them: it is opaque then.
            set_opaque_if_possible(at, upper_parent.upper)?;
            return empty(at).map(|()| None);
        }
        let staged = work.temp_name();
        rustix::fs::mkdirat(work.dir(), &staged, Mode::RWXU)?;
        let at = At::Name(work.dir(), staged.as_bytes());
        let exchanged = self.imitate(at, upper_parent, name).and_then(|()| {
            let (from, to) = ((work.dir(), &*staged), (upper_parent.dir.as_fd(), name));
            owner_mode::rename(from, to, RenameFlags::EXCHANGE)
        });
        work.discard(&staged);
        exchanged.map(|()| None)
    }

    /// Gives an empty directory owner and mode of another, and makes it hide what that one hid.
    fn imitate(&self, at: At<'_>, upper_parent: &UpperParent<'_>, name: &OsStr) -> Result<()> {
        let stat = calls::stat(At::Name(upper_parent.dir.as_fd(), name.as_bytes()))?;
        calls::chown(at, Some(stat.stx_uid), Some(stat.stx_gid))?;
        calls::chmod(at, u32::from(stat.stx_mode) & PERMISSIONS)?;
        // By the record alone: what is renamed over it must find it empty.
        set_opaque_if_possible(at, upper_parent.upper)
    }
}

//! Making an object in the work directory as if it had been made in the directory that it is for: with the
//! default ACL, group and set-gid bit of that.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use plyfs_sys::xattr::{self, At};
use rustix::fs::{Mode, Statx, XattrFlags};

use crate::disk::attribute_names::DEFAULT_ACL;
use crate::disk::calls;
use crate::error::{Errno, Result};
use crate::layer::new_object::NewObject;
use crate::layer::override_stat;
use crate::layer::upper::Upper;
use crate::ops::upper_parent::UpperParent;
use crate::types::{FileKind, PERMISSIONS, S_ISGID, S_ISUID};

/// Where an object that is to replace a whiteout is made: the work directory, or a directory in it
/// that hands on the default ACL of the directory the object is for.
pub(super) struct StagingDir<'s> {
    upper: &'s Upper,
    inner: Option<(OsString, OwnedFd)>,
}

impl<'s> StagingDir<'s> {
    pub(super) fn open(upper_parent: &UpperParent<'s>) -> Result<Self> {
        let upper = upper_parent.upper;
        let acl = if upper.layer.records.keep_owners() {
            None
        } else {
            xattr::get_all(At::Fd(upper_parent.dir.as_fd()), DEFAULT_ACL)?
        };
        let Some(acl) = acl else {
            return Ok(Self { upper, inner: None });
        };
        let name = upper.work.temp_name();
        rustix::fs::mkdirat(upper.work.dir(), &name, Mode::RWXU)?;
        let dir = crate::disk::calls::open_dir(upper.work.dir(), &name)?;
        let staging_dir = Self {
            upper,
            inner: Some((name, dir)),
        };
        if let Some((_, dir)) = &staging_dir.inner {
            let at = At::Fd(dir.as_fd());
            if let Err(errno) = xattr::set(at, DEFAULT_ACL, &acl, XattrFlags::empty()) {
                staging_dir.close();
                return Err(errno);
            }
        }
        Ok(staging_dir)
    }

    /// Makes an object, complete, under a name in the work directory.
    pub(super) fn make(
        &self,
        name: &OsStr,
        wanted: &NewObject<'_>,
        upper_parent: &UpperParent<'_>,
    ) -> Result<Option<OwnedFd>> {
        let work = self.upper.work.dir();
        let records = self.upper.layer.records;
        let place = self.inner.as_ref().map_or(work, |(_, dir)| dir.as_fd());
        let made = wanted.make(place, name, records)?;
        if self.inner.is_some() {
            rustix::fs::renameat(place, name, work, name)?;
        }
        let at = At::Name(work, name.as_bytes());
        let stat = calls::stat(at)?;
        if records.rule(wanted.kind) {
            override_stat::write_record_of_new(at, wanted.record(&stat, records), records)?;
        } else {
            adopt(at, &stat, wanted, upper_parent.dir.as_fd())?;
        }
        Ok(made)
    }

    pub(super) fn close(&self) {
        if let Some((name, _)) = &self.inner {
            self.upper.work.discard(name);
        }
    }
}

/// Gives a staged object owner, group and set-gid bit as if it had been made in `parent`.
fn adopt(at: At<'_>, stat: &Statx, wanted: &NewObject<'_>, parent: BorrowedFd<'_>) -> Result<()> {
    let parent = calls::stat_fd(parent)?;
    if u32::from(parent.stx_mode) & S_ISGID == 0 {
        return own(at, stat, wanted, false).map(drop);
    }
    let wanted = NewObject {
        gid: parent.stx_gid,
        ..*wanted
    };
    own(at, stat, &wanted, false)?;
    let mode = u32::from(stat.stx_mode) & PERMISSIONS;
    if wanted.kind.is_dir() {
        calls::chmod(at, mode | S_ISGID)?;
    }
    Ok(())
}

/// Gives a new object to its owner, unless it is already theirs.
///
/// Returns whether something was to be changed.
pub(super) fn own(
    at: At<'_>,
    stat: &Statx,
    wanted: &NewObject<'_>,
    keep_group: bool,
) -> Result<bool> {
    let uid = (stat.stx_uid != wanted.uid).then_some(wanted.uid);
    let gid = (stat.stx_gid != wanted.gid && !keep_group).then_some(wanted.gid);
    if uid.is_none() && gid.is_none() {
        return Ok(false);
    }
    match calls::chown(at, uid, gid) {
        // An ordinary user's daemon cannot give its files to a group of the caller that it is not
        // in itself; they are the user's own nevertheless.
        Err(Errno::PERM) if uid.is_none() => return Ok(false),
        other => other?,
    }
    let mode = u32::from(stat.stx_mode) & PERMISSIONS;
    if mode & (S_ISUID | S_ISGID) != 0 && wanted.kind != FileKind::Symlink {
        calls::chmod(at, mode)?;
    }
    Ok(true)
}

//! Publishing a staged object over a whiteout.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;

use crate::error::Result;
use crate::ops::site::{Ground, Site};
use crate::types::FileKind;

/// Moves a staged object to where a whiteout is.
pub(super) fn publish_over(
    site: &Site<'_>,
    staged: &OsStr,
    name: &OsStr,
    kind: FileKind,
    ground: Ground,
) -> Result<()> {
    let work = &site.upper.work;
    let to = (site.dir.as_fd(), name);
    let moved = match ground {
        Ground::ArchiveWhiteout => work.publish(staged, to),
        _ if kind.is_dir() => work.replace_whiteout(staged, to),
        _ => work.replace(staged, to),
    };
    match moved {
        Ok(()) if ground == Ground::ArchiveWhiteout => remove_archive_whiteout(site, name),
        Ok(()) => {}
        Err(_) => work.discard(staged),
    }
    moved
}

/// Removes a whiteout in the form of a file. One that stays hides nothing of a name that is there.
fn remove_archive_whiteout(site: &Site<'_>, name: &OsStr) {
    let whiteout = [plyfs_format::whiteout::PREFIX, name.as_bytes()].concat();
    if let Err(errno) = rustix::fs::unlinkat(&site.dir, &*whiteout, AtFlags::empty()) {
        log::debug!("a whiteout of {} stays: {errno}", name.display());
    }
}

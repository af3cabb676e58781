//! Publishing a staged object over a whiteout.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;

use crate::error::Result;
use crate::ops::upper_parent::{NameState, UpperParent};
use crate::types::FileKind;

/// Moves a staged object to where a whiteout is.
pub(super) fn publish_over(
    upper_parent: &UpperParent<'_>,
    staged: &OsStr,
    name: &OsStr,
    kind: FileKind,
    name_state: NameState,
) -> Result<()> {
    let work = &upper_parent.upper.work;
    let to = (upper_parent.dir.as_fd(), name);
    let moved = match name_state {
        NameState::ArchiveWhiteout => work.publish(staged, to),
        _ if kind.is_dir() => work.replace_whiteout(staged, to),
        _ => work.replace(staged, to),
    };
    match moved {
        Ok(()) if name_state == NameState::ArchiveWhiteout => {
            remove_archive_whiteout(upper_parent, name)
        }
        Ok(()) => {}
        Err(_) => work.discard(staged),
    }
    moved
}

/// Removes a whiteout in the form of a file. One that stays hides nothing of a name that is there.
fn remove_archive_whiteout(upper_parent: &UpperParent<'_>, name: &OsStr) {
    let whiteout = [plyfs_format::whiteout::PREFIX, name.as_bytes()].concat();
    if let Err(errno) = rustix::fs::unlinkat(&upper_parent.dir, &*whiteout, AtFlags::empty()) {
        log::debug!("a whiteout of {} stays: {errno}", name.display());
    }
}

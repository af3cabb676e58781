//! Whether the directories that are given for an overlay lie apart. Where one lies in another, or two are
//! the same, a directory would be in the tree twice, or change under the eyes of a lower layer.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::disk::calls::proc_path;
use crate::open_error::MountError;

/// A directory that was given.
pub(crate) struct LayerPath {
    /// What it is to be: `lower`, `upper` or `work`.
    pub(crate) role: &'static str,
    given: PathBuf,
    /// Where it is in this mount namespace, as far as that can be told.
    pub(crate) real: PathBuf,
}

impl LayerPath {
    /// Opens a directory that was given as a layer or for work; `role` is for the message.
    pub(crate) fn open(role: &'static str, given: &Path) -> Result<(OwnedFd, Self), MountError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The path is where it is, if nothing on it leads elsewhere. To ask the kernel where a descriptor
        // is takes as long as all the rest that is done for a layer.
        let literal = given.is_absolute() && !given.components().any(|c| c == Component::ParentDir);
        let opened = literal.then(|| {
            let resolve = ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(CWD, given, flags, Mode::empty(), resolve)
        });
        if let Some(Ok(fd)) = opened {
            let real = given.components().collect();
            let given = given.to_owned();
            return Ok((fd, Self { role, given, real }));
        }
        // A layer may be given through a link (`l/XXXX` in containers-storage).
        let fd = rustix::fs::open(given, flags, Mode::empty());
        let fd = fd.map_err(|errno| MountError::Open {
            role,
            path: given.to_owned(),
            errno,
        })?;
        let given = given.to_owned();
        let real = std::fs::read_link(proc_path(fd.as_fd())).unwrap_or_else(|_| given.clone());
        Ok((fd, Self { role, given, real }))
    }

    /// Where it is, without a slash at the end: that of the root is empty.
    fn bytes(&self) -> &[u8] {
        let path = self.real.as_os_str().as_bytes();
        path.strip_suffix(b"/").unwrap_or(path)
    }

    fn holds(&self, other: &Self) -> bool {
        let below = other.bytes().strip_prefix(self.bytes());
        below.is_some_and(|below| matches!(below.first(), None | Some(b'/')))
    }
}

/// Refuses directories of which one lies in another, or that are the same.
pub(crate) fn check(paths: &[LayerPath]) -> Result<(), MountError> {
    let mut paths: Vec<&LayerPath> = paths.iter().collect();
    // What lies in a directory comes right after it: a slash is before all else.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    paths.sort_unstable_by(|one, other| {
        let (one, other) = (one.bytes().iter(), other.bytes().iter());
        one.map(key).cmp(other.map(key))
    });
    let holds = |pair: &&[&LayerPath]| matches!(pair, [one, other] if one.holds(other));
    let Some(&[one, other]) = paths.windows(2).find(holds) else {
        return Ok(());
    };
    // As they were given, unless only where they are shows that they are the same.
    let shown = |layer_path: &LayerPath| {
        if one.real == other.real {
            layer_path.real.clone()
        } else {
            layer_path.given.clone()
        }
    };
    Err(MountError::Overlap {
        one: shown(one),
        other: shown(other),
    })
}

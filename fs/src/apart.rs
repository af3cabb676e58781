//! Whether the directories that are given for an overlay lie apart. Where one lies in another, or two are
//! the same, a directory would be in the tree twice, or change under the eyes of a lower layer.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::error::MountError;
use crate::object::proc_path;

/// A directory that was given, and where it really is in this mount namespace.
pub(crate) struct Spot {
    given: PathBuf,
    /// `None` if that cannot be told.
    real: Option<PathBuf>,
}

impl Spot {
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
            let (given, real) = (given.to_owned(), Some(given.to_owned()));
            return Ok((fd, Self { given, real }));
        }
        // A layer may be given through a link (`l/XXXX` in containers-storage).
        let fd = rustix::fs::open(given, flags, Mode::empty());
        let fd = fd.map_err(|errno| MountError::Open {
            role,
            path: given.to_owned(),
            errno,
        })?;
        let real = std::fs::read_link(proc_path(fd.as_fd())).ok();
        let given = given.to_owned();
        Ok((fd, Self { given, real }))
    }

    /// Where it is, as far as that can be told.
    fn place(&self) -> &Path {
        self.real.as_deref().unwrap_or(&self.given)
    }

    /// Refuses two directories of which one lies in the other.
    pub(crate) fn check_apart_from(&self, other: &Spot) -> Result<(), MountError> {
        let (Some(one_real), Some(other_real)) = (&self.real, &other.real) else {
            return Ok(());
        };
        if one_real.starts_with(other_real) || other_real.starts_with(one_real) {
            return Err(MountError::Overlap {
                one: self.given.clone(),
                other: other.given.clone(),
            });
        }
        Ok(())
    }
}

/// Refuses lower layers of which one lies in another, or that are the same.
pub(crate) fn check_lowers(spots: &[Spot]) -> Result<(), MountError> {
    let mut paths: Vec<_> = spots.iter().map(Spot::place).collect();
    // What lies in a directory comes right after it, component by component.
    paths.sort_unstable();
    match paths.windows(2).find(|pair| pair[1].starts_with(pair[0])) {
        None => Ok(()),
        Some(pair) => Err(MountError::Overlap {
            one: pair[0].to_owned(),
            other: pair[1].to_owned(),
        }),
    }
}

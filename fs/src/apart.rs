//! Whether the directories that are given for an overlay lie apart. Where one lies in another, or two are
//! the same, a directory would be in the tree twice, or change under the eyes of a lower layer.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::error::MountError;
use crate::object::proc_path;

/// A directory that was given, and where it really is in this mount namespace.
pub(crate) struct Spot<'p> {
    given: &'p Path,
    /// `None` if that cannot be told.
    real: Option<PathBuf>,
}

impl<'p> Spot<'p> {
    /// Where a directory is that was opened by this path.
    pub(crate) fn of(given: &'p Path, fd: BorrowedFd<'_>) -> Self {
        let real = std::fs::read_link(proc_path(fd)).ok();
        Self { given, real }
    }

    /// Refuses two directories of which one lies in the other.
    pub(crate) fn check_apart_from(&self, other: &Spot<'_>) -> Result<(), MountError> {
        let (Some(one_real), Some(other_real)) = (&self.real, &other.real) else {
            return Ok(());
        };
        if one_real.starts_with(other_real) || other_real.starts_with(one_real) {
            return Err(MountError::Overlap {
                one: self.given.to_owned(),
                other: other.given.to_owned(),
            });
        }
        Ok(())
    }
}

/// Refuses lower layers of which one lies in another, or that are the same.
pub(crate) fn check_lowers(spots: &[Spot<'_>]) -> Result<(), MountError> {
    let real = |spot: &Spot<'_>| spot.real.clone().unwrap_or_else(|| spot.given.to_owned());
    let mut paths: Vec<_> = spots.iter().map(real).collect();
    // What lies in a directory comes right after it, component by component.
    paths.sort_unstable();
    match paths.windows(2).find(|pair| pair[1].starts_with(&pair[0])) {
        None => Ok(()),
        Some(pair) => Err(MountError::Overlap {
            one: pair[0].clone(),
            other: pair[1].clone(),
        }),
    }
}

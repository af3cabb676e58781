//! The upper directory in which a name is made or removed, and what is under the name.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::Overlay;
use crate::error::{Errno, Result};
use crate::inode::dir::Names;
use crate::inode::node::Node;
use crate::layer::upper::Upper;
use crate::layer::whiteout::is_whiteout;

/// What is under a name in the merged directory, as far as making something there is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Nothing, in no layer.
    Bare,
    /// Nothing, because of a whiteout in the upper directory.
    Whiteout,
    /// Nothing, because of a whiteout in the form of a file of another name there.
    ArchiveWhiteout,
    /// Something.
    Taken,
}

/// A directory in which something is being made.
pub(super) struct Site<'s> {
    pub(super) upper: &'s Upper,
    pub(super) parent: &'s Arc<Node>,
    /// The upper directory of `parent`.
    pub(super) dir: Arc<OwnedFd>,
}

impl Overlay {
    /// The upper directory of a node whose namespace lock the caller holds.
    pub(super) fn site<'s>(
        &self,
        upper: &'s Upper,
        parent: &'s Arc<Node>,
        names: &Names,
    ) -> Result<Site<'s>> {
        if names.removed {
            return Err(Errno::NOENT);
        }
        let dir = self.upper_dir(parent)?;
        Ok(Site { upper, parent, dir })
    }

    /// What is under a name. The caller holds the namespace lock.
    pub(super) fn ground(&self, site: &Site<'_>, names: &Names, name: &OsStr) -> Result<Ground> {
        let above = self.ground_above(site, name)?;
        if above != Ground::Bare {
            return Ok(above);
        }
        let taken = self.shows(names, name)?;
        Ok(if taken { Ground::Taken } else { Ground::Bare })
    }

    /// What the upper directory has under a name.
    pub(super) fn ground_above(&self, site: &Site<'_>, name: &OsStr) -> Result<Ground> {
        Ok(match self.upper_stat(site.dir.as_fd(), name)? {
            Some(stat) if is_whiteout(&stat) => Ground::Whiteout,
            Some(_) => Ground::Taken,
            None if site
                .upper
                .layer
                .has_archive_whiteout(site.dir.as_fd(), name)? =>
            {
                Ground::ArchiveWhiteout
            }
            None => Ground::Bare,
        })
    }

    /// Whether a directory shows a name that the upper directory does not have.
    pub(super) fn shows(&self, names: &Names, name: &OsStr) -> Result<bool> {
        match self.listing_of(names) {
            Some(listing) => Ok(listing.contains(name)),
            None => self.lower_positive(names, name),
        }
    }
}

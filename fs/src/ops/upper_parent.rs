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
pub(super) enum NameState {
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
pub(super) struct UpperParent<'s> {
    pub(super) upper: &'s Upper,
    pub(super) parent: &'s Arc<Node>,
    /// The upper directory of `parent`.
    pub(super) dir: Arc<OwnedFd>,
}

impl Overlay {
    /// The upper directory of a node whose namespace lock the caller holds.
    pub(super) fn upper_parent<'s>(
        &self,
        upper: &'s Upper,
        parent: &'s Arc<Node>,
        names: &Names,
    ) -> Result<UpperParent<'s>> {
        if names.removed {
            return Err(Errno::NOENT);
        }
        let dir = self.upper_dir(parent)?;
        Ok(UpperParent { upper, parent, dir })
    }

    /// What is under a name. The caller holds the namespace lock.
    pub(super) fn name_state(
        &self,
        upper_parent: &UpperParent<'_>,
        names: &Names,
        name: &OsStr,
    ) -> Result<NameState> {
        let above = self.upper_name_state(upper_parent, name)?;
        if above != NameState::Bare {
            return Ok(above);
        }
        let taken = self.shows(names, name)?;
        Ok(if taken {
            NameState::Taken
        } else {
            NameState::Bare
        })
    }

    /// What the upper directory has under a name.
    pub(super) fn upper_name_state(
        &self,
        upper_parent: &UpperParent<'_>,
        name: &OsStr,
    ) -> Result<NameState> {
        Ok(match self.upper_stat(upper_parent.dir.as_fd(), name)? {
            Some(stat) if is_whiteout(&stat) => NameState::Whiteout,
            Some(_) => NameState::Taken,
            None if upper_parent
                .upper
                .layer
                .has_archive_whiteout(upper_parent.dir.as_fd(), name)? =>
            {
                NameState::ArchiveWhiteout
            }
            None => NameState::Bare,
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

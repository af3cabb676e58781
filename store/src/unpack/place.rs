//! Where an entry goes.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::fault::Result;
use super::path::EntryPath;
use crate::error::EntryFault;

/// Where an entry goes: a name in a directory that is held.
pub(super) struct Place<'a> {
    pub(super) dir: Rc<OwnedFd>,
    pub(super) path: &'a EntryPath,
}

impl Place<'_> {
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.dir.as_fd()
    }

    pub(super) fn name(&self) -> &[u8] {
        self.path.name()
    }

    /// What is there, not followed; `None` if nothing is.
    pub(super) fn stat(&self) -> Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(self.dir(), self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(EntryFault::system("examine it")(errno)),
        }
    }
}

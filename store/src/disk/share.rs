//! Who needs what of the store, so that nothing goes that is needed.
//!
//! - A process that adds something that an index or a container will lead to, or that reads an image for
//!   longer, *shares* the store: a shared lock (flock(2)) of `layers/sha256`. A process that removes what nothing
//!   needs takes it exclusively, and so sees every index and every container whole.
//! - Who uses an image for as long as it likes, as a mount does, *holds* it: a shared lock of the blob
//!   of its manifest. What is held is kept though no name leads to it.
//!
//! Locks go with the process that has them, so that none has to be cleared away.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::blob::blob_label;
use super::staging::lock;
use super::store::Store;
use crate::error::{BlobError, Context, Result};
use crate::values::Digest;

/// Keeps an image with all its layers, until it is dropped in every process that has it.
#[derive(Debug)]
pub struct ImageHold {
    _manifest: OwnedFd,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct StoreShare {
    _layers: OwnedFd,
}

impl Store {
    /// Waits until nothing is being removed, and keeps it so.
    pub(crate) fn share(&self) -> Result<StoreShare> {
        let layers = self.open_layers()?;
        lock(&layers, FlockOperation::LockShared).context("lock", &self.layers_dir())?;
        Ok(StoreShare { _layers: layers })
    }

    /// The store for oneself; nothing if others share it.
    pub(crate) fn alone(&self) -> Result<Option<StoreShare>> {
        let layers = self.open_layers()?;
        match lock(&layers, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            locked => {
                locked.context("lock", &self.layers_dir())?;
                Ok(Some(StoreShare { _layers: layers }))
            }
        }
    }

    fn open_layers(&self) -> Result<OwnedFd> {
        let dir = self.layers_dir();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&dir, flags, Mode::empty()).context("open", &dir)
    }

    /// Holds the image with this manifest.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if it has been removed.
    pub fn hold(&self, manifest: &Digest) -> Result<ImageHold> {
        let path = self.blob_path(manifest);
        let missing = || BlobError::Missing {
            blob: blob_label(manifest),
        };
        let file = match open(&path) {
            Err(Errno::NOENT) => return Err(missing().into()),
            opened => opened.context("open", &path)?,
        };
        lock(&file, FlockOperation::LockShared).context("lock", &path)?;
        // It may have been removed between opening and locking.
        let held = rustix::fs::fstat(&file).context("examine", &path)?;
        match rustix::fs::stat(&path) {
            Ok(found) if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) => {
                Ok(ImageHold { _manifest: file })
            }
            _ => Err(missing().into()),
        }
    }

    /// Makes sure that no process holds an image, as long as the returned lock is kept; `None` if
    /// one does.
    pub(crate) fn unheld(&self, manifest: &Digest) -> Result<Option<ImageHold>> {
        let path = self.blob_path(manifest);
        let file = open(&path).context("open", &path)?;
        match lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            locked => {
                locked.context("lock", &path)?;
                Ok(Some(ImageHold { _manifest: file }))
            }
        }
    }
}

impl Store {
    /// Whether a process holds an image. One that cannot be asked for is not held.
    pub(crate) fn is_held(&self, manifest: &Digest) -> bool {
        matches!(self.unheld(manifest), Ok(None))
    }
}

fn open(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

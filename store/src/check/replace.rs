//! Putting something whole in the place of something damaged.

use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::collect::Reach;
use crate::container::ContainerLock;
use crate::disk::{ImageHold, Staging, Store, sync_dir};
use crate::error::{ContainerError, Context, Error, Result};
use crate::values::{Digest, limits};

/// Keeps everything that could use a layer from being used.
pub(crate) struct Unused {
    _images: Vec<ImageHold>,
    _containers: Vec<ContainerLock>,
}

impl Store {
    /// Puts a document that is whole among the blobs, over one that is not.
    pub(crate) fn put_document(
        &self,
        staging: &Staging,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<()> {
        let place = self.blob_path(digest);
        // Who holds the image has a lock on this very file: another one in its place would not be locked.
        if self.is_held(digest) {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(&place)
                .context("open", &place)?;
            file.write_all_at(bytes, 0).context("write", &place)?;
            file.set_len(bytes.len() as u64).context("write", &place)?;
            return file.sync_all().context("sync", &place);
        }
        let name = format!("document-{}", digest.hex());
        let path = staging.write(&name, bytes)?;
        self.put_blob(&path, digest)?;
        sync_dir(&self.blobs_dir())
    }

    /// Moves a blob that is whole, and on disk, to its place.
    pub(crate) fn put_blob(&self, blob: &Path, digest: &Digest) -> Result<()> {
        let place = self.blob_path(digest);
        if place
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir())
        {
            self.remove_object(&place)?;
        }
        std::fs::rename(blob, &place).context("publish", &place)
    }

    /// Moves an unpacked layer to its place, and removes what was there.
    ///
    /// # Errors
    /// [`Error::LayerInUse`] while something that is mounted stands on it.
    pub(crate) fn replace_layer(&self, fresh: &Path, diff_id: &Digest) -> Result<()> {
        let place = self.layer_dir(diff_id);
        // The locks that one replacement takes would look like a mount's to another in this process.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock();
        let _unused = self.unused_layer(diff_id)?;
        sync_fs(fresh)?;
        match rustix::fs::renameat_with(CWD, fresh, CWD, &place, RenameFlags::EXCHANGE) {
            // What is there now goes with the work in progress.
            Ok(()) => return sync_dir(&self.layers_dir()),
            Err(Errno::NOENT) => {}
            // Not every file system can exchange two names.
            Err(Errno::INVAL) => self.remove_object(&place)?,
            Err(errno) => return Err(errno).context("replace", &place),
        }
        std::fs::rename(fresh, &place).context("publish", &place)?;
        sync_dir(&self.layers_dir())
    }

    /// Makes sure that nothing uses a layer, as long as what is returned is kept.
    ///
    /// # Errors
    /// [`Error::LayerInUse`].
    pub(crate) fn unused_layer(&self, diff_id: &Digest) -> Result<Unused> {
        let in_use = || Error::LayerInUse(*diff_id);
        let mut images = Vec::new();
        for (digest, metadata) in self.entries(&self.blobs_dir())? {
            if metadata.len() > limits::DOCUMENT_BYTES || !self.is_manifest(&digest) {
                continue;
            }
            let mut reach = Reach::new(self);
            reach.document(&digest, 0);
            if reach.layers.contains(diff_id) {
                images.push(self.unheld(&digest)?.ok_or_else(in_use)?);
            }
        }
        let mut containers = Vec::new();
        for record in self.containers()? {
            if !record.diff_ids.contains(diff_id) {
                continue;
            }
            match self.lock_for_repair(&record.name) {
                Ok(lock) => containers.push(lock),
                Err(Error::Container(ContainerError::Busy(_))) => return Err(in_use()),
                // It was removed meanwhile.
                Err(Error::Container(ContainerError::Unknown(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Unused {
            _images: images,
            _containers: containers,
        })
    }

    /// Removes a file or directory of the store.
    pub(crate) fn remove_object(&self, path: &Path) -> Result<()> {
        match path.symlink_metadata() {
            Ok(metadata) => self.remove_known(path, &metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("examine", path),
        }
    }
}

/// Everything that was written to the file system of a directory is on disk afterwards.
fn sync_fs(dir: &Path) -> Result<()> {
    let file = std::fs::File::open(dir).context("open", dir)?;
    rustix::fs::syncfs(&file).context("sync", dir)
}

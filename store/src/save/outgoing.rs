//! An image on its way to a registry: what it consists of, whole.

use std::io::{self, Read, Seek, SeekFrom};

use super::parts::Parts;
use crate::disk::{Content, Store, StoreShare, blob_digest, blob_label};
use crate::error::{BlobError, Result};
use crate::progress::{Progress, Silent};
use crate::values::{Digest, ImageName};

/// An image that is sent somewhere. Nothing of it goes from the store meanwhile.
#[derive(Debug)]
pub struct Outgoing {
    _shared: StoreShare,
    /// Its name in the store.
    pub name: ImageName,
    /// The media type of the manifest.
    pub media_type: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The manifest, to the byte.
    pub manifest: Vec<u8>,
    /// Layers from the bottom, each once, then the configuration.
    pub blobs: Vec<OutgoingBlob>,
}

/// A blob of an outgoing image.
#[derive(Debug, Clone)]
pub struct OutgoingBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size, in bytes.
    pub size: u64,
    content: Content,
}

impl Store {
    /// Gets an image of the store ready to be sent.
    ///
    /// # Errors
    /// [`NameError`](crate::NameError) if there is none, [`BlobError`] if something of it is missing or damaged.
    pub fn outgoing(&self, name: &str) -> Result<Outgoing> {
        let shared = self.share()?;
        let parts = self.parts(name, &Silent)?;
        let mut blobs = Vec::new();
        for layer in parts.layers() {
            blobs.push(OutgoingBlob {
                digest: layer.digest,
                size: layer.size,
                content: parts.open(layer)?,
            });
        }
        let config = &parts.manifest.config;
        if !blobs.iter().any(|blob| blob.digest == config.digest) {
            blobs.push(OutgoingBlob {
                digest: config.digest,
                size: config.size,
                content: parts.open(config)?,
            });
        }
        let Parts {
            name,
            descriptor,
            manifest,
            manifest_bytes,
            ..
        } = parts;
        Ok(Outgoing {
            _shared: shared,
            name,
            media_type: manifest.media_type.unwrap_or(descriptor.media_type),
            digest: descriptor.digest,
            manifest: manifest_bytes,
            blobs,
        })
    }
}

impl OutgoingBlob {
    /// Compares the blob with its digest, so that nothing damaged is sent, and opens it.
    ///
    /// # Errors
    /// [`BlobError::Corrupt`], and [`Error::Interrupted`](crate::Error::Interrupted) if `progress` says so.
    pub fn open(&self, progress: &dyn Progress) -> Result<OutgoingReader> {
        let label = blob_label(&self.digest);
        let actual = blob_digest(&self.content, &label, &|_| !progress.interrupted())?;
        if actual != self.digest {
            return Err(BlobError::Corrupt {
                blob: label,
                actual,
            }
            .into());
        }
        Ok(OutgoingReader {
            content: self.content.clone(),
            position: 0,
        })
    }
}

/// The bytes of an outgoing blob.
#[derive(Debug)]
pub struct OutgoingReader {
    content: Content,
    position: u64,
}

impl Read for OutgoingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for OutgoingReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.content.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(invalid)?;
        Ok(self.position)
    }
}

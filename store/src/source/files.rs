//! The files of a source: a directory, or the members of an archive.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::archive::Archive;
use crate::disk::{Content, blob_label, fill, read_error, size_error};
use crate::error::{BlobError, Error, Result};
use crate::remote::Remote;
use crate::values::{Digest, errno_of};

/// Files that are found by a relative path.
#[derive(Debug)]
pub(crate) enum Files {
    Directory(PathBuf),
    Archive(Archive),
    /// Layers come one by one when they are wanted, and have no files.
    Remote(Arc<dyn Remote>),
}

impl Files {
    /// A file by its path, which is one of this crate's making or checked; `None` if there is none.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Content>> {
        match self {
            Self::Directory(dir) => open_regular(&dir.join(name), name),
            Self::Archive(archive) => archive.open(name),
            Self::Remote(_) => Ok(None),
        }
    }

    /// Where layers have to be fetched from, if they are not here.
    pub(crate) fn remote(&self) -> Option<&Arc<dyn Remote>> {
        match self {
            Self::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    /// A document by its digest and size.
    pub(crate) fn document(&self, digest: &Digest, size: u64, limit: u64) -> Result<Vec<u8>> {
        if let Self::Remote(remote) = self {
            return fetched(remote.as_ref(), digest, size, limit);
        }
        match self.open(&blob_file(digest))? {
            Some(content) => content.read_verified(digest, size, limit),
            None => Err(BlobError::Missing {
                blob: blob_label(digest),
            }
            .into()),
        }
    }
}

/// A document that a remote keeps as a blob.
fn fetched(remote: &dyn Remote, digest: &Digest, size: u64, limit: u64) -> Result<Vec<u8>> {
    let blob = blob_label(digest);
    if size > limit {
        return Err(BlobError::TooLarge { blob, limit }.into());
    }
    let mut coming = remote.blob(digest, size, 0).map_err(Error::Remote)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    let done = fill(&mut bytes, |_, rest| coming.read(rest)).map_err(Error::Remote)?;
    if done < bytes.len() {
        return Err(size_error(&blob, size, done as u64).into());
    }
    match Digest::of(&bytes) {
        actual if actual == *digest => Ok(bytes),
        actual => Err(BlobError::Corrupt { blob, actual }.into()),
    }
}

/// Where a blob is in an image layout.
pub(crate) fn blob_file(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Opens a regular file. Symbolic links are followed: people keep blobs elsewhere and link to them,
/// and what is read is verified. A fifo is not waited for.
pub(crate) fn open_regular(path: &Path, name: &str) -> Result<Option<Content>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            return match errno_of(&error) {
                Errno::NOENT | Errno::NOTDIR => Ok(None),
                errno => Err(read_error(name, errno).into()),
            };
        }
    };
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| read_error(name, errno_of(&error)))?;
    if !metadata.is_file() {
        let errno = if metadata.is_dir() {
            Errno::ISDIR
        } else {
            Errno::INVAL
        };
        return Err(read_error(name, errno).into());
    }
    Ok(Some(Content::whole(file, metadata.len())))
}

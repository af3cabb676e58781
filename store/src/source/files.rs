//! The files of a source: a directory, or the members of an archive.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::archive::Archive;
use crate::disk::{Content, blob_label, read_error};
use crate::error::{BlobError, Result};
use crate::values::{Digest, errno_of};

/// Files that are found by a relative path.
#[derive(Debug)]
pub(crate) enum Files {
    Directory(PathBuf),
    Archive(Archive),
}

impl Files {
    /// A file by its path, which is one of this crate's making or checked; `None` if there is none.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Content>> {
        match self {
            Self::Directory(dir) => open_regular(&dir.join(name), name),
            Self::Archive(archive) => archive.open(name),
        }
    }

    /// A document by its digest and size.
    pub(crate) fn document(&self, digest: &Digest, size: u64, limit: u64) -> Result<Vec<u8>> {
        match self.open(&blob_file(digest))? {
            Some(content) => content.read_verified(digest, size, limit),
            None => Err(BlobError::Missing {
                blob: blob_label(digest),
            }
            .into()),
        }
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

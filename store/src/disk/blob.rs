//! Blobs: runs of bytes in a file that are named by their digest.

use std::fs::File;
use std::sync::Arc;

use rustix::io::Errno;

use super::fill::fill;
use crate::decode::{Format, MAGIC};
use crate::error::{BlobError, Error};
use crate::values::Digest;

/// How a blob is called in errors.
pub(crate) fn blob_label(digest: &Digest) -> String {
    format!("blob {digest}")
}

/// A run of bytes in a file: all of it, or a member of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl Content {
    /// All of a file, which has `len` bytes.
    pub(crate) fn whole(file: File, len: u64) -> Self {
        Self {
            file: Arc::new(file),
            start: 0,
            len,
        }
    }

    /// A part of a file.
    pub(crate) fn part(file: &Arc<File>, start: u64, len: u64) -> Self {
        Self {
            file: Arc::clone(file),
            start,
            len,
        }
    }

    /// The length, in bytes, as it was when the file was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The file, if the content is all of it.
    pub(crate) fn as_whole_file(&self) -> Option<&File> {
        (self.start == 0
            && rustix::fs::fstat(&*self.file)
                .is_ok_and(|stat| u64::try_from(stat.st_size) == Ok(self.len)))
        .then_some(&*self.file)
    }

    /// Reads from `position` on and says how much there was; nothing only at the end.
    pub(crate) fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let left = self.len.saturating_sub(position);
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = buffer.get_mut(..want).unwrap_or_default();
        rustix::io::retry_on_intr(|| {
            rustix::io::pread(&*self.file, &mut *buffer, self.start + position)
        })
    }

    /// The first bytes, at most `N`.
    pub(crate) fn start<const N: usize>(&self) -> Result<Vec<u8>, Errno> {
        let mut start = vec![0; N];
        let done = fill(&mut start, |position, rest| self.read_at(position, rest))?;
        start.truncate(done);
        Ok(start)
    }

    /// How it is compressed, by its first bytes. A media type may say another.
    pub(crate) fn format(&self, blob: &str) -> Result<Format, BlobError> {
        let start = self.start::<MAGIC>();
        let start = start.map_err(|errno| read_error(blob, errno))?;
        Ok(Format::of_magic(&start))
    }

    /// All of it, if it has at most `limit` bytes.
    pub(crate) fn read_all(&self, blob: &str, limit: u64) -> Result<Vec<u8>, BlobError> {
        if self.len > limit {
            let blob = blob.to_owned();
            return Err(BlobError::TooLarge { blob, limit });
        }
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        let done = fill(&mut bytes, |position, rest| self.read_at(position, rest));
        match done.map_err(|errno| read_error(blob, errno))? {
            done if done == bytes.len() => Ok(bytes),
            done => Err(size_error(blob, self.len, done as u64)),
        }
    }

    /// All of it, if size and digest are those that are expected.
    pub(crate) fn read_verified(
        &self,
        digest: &Digest,
        size: u64,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let blob = blob_label(digest);
        if self.len != size {
            return Err(size_error(&blob, size, self.len).into());
        }
        let bytes = self.read_all(&blob, limit)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(BlobError::Corrupt { blob, actual }.into());
        }
        Ok(bytes)
    }
}

pub(crate) fn read_error(blob: &str, errno: Errno) -> BlobError {
    let blob = blob.to_owned();
    BlobError::Read { blob, errno }
}

pub(crate) fn size_error(blob: &str, expected: u64, actual: u64) -> BlobError {
    let blob = blob.to_owned();
    BlobError::Size {
        blob,
        expected,
        actual,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(bytes: &[u8]) -> Content {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Content::whole(file, bytes.len() as u64)
    }

    #[test]
    fn a_document_is_checked_before_it_is_used() {
        let content = content(b"hello");
        let digest = Digest::of(b"hello");
        assert_eq!(content.read_verified(&digest, 5, 10).unwrap(), b"hello");
        let said = |digest, size, limit| {
            let error = content.read_verified(&digest, size, limit).unwrap_err();
            error.to_string()
        };
        assert!(said(digest, 4, 10).ends_with("has 5 bytes instead of 4"));
        assert!(said(digest, 5, 4).ends_with("is larger than 4 bytes"));
        assert!(said(Digest::of(b"x"), 5, 10).contains("is corrupt: its digest is sha256:2cf24"));
    }

    #[test]
    fn a_part_does_not_reach_beyond_itself() {
        let whole = content(b"0123456789");
        let part = Content::part(&whole.file, 3, 4);
        assert_eq!(part.read_all("x", 10).unwrap(), b"3456");
        assert_eq!(part.start::<2>().unwrap(), b"34");
        assert_eq!(part.start::<9>().unwrap(), b"3456");
        assert!(part.as_whole_file().is_none());
        assert!(whole.as_whole_file().is_some());
        let beyond = Content::part(&whole.file, 8, 4);
        assert!(matches!(
            beyond.read_all("x", 10),
            Err(BlobError::Size { actual: 2, .. })
        ));
    }
}

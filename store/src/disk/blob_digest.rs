//! The digest of a blob on disk.

use super::blob::{Content, read_error};
use crate::error::{Error, Result};
use crate::values::{Digest, Hasher, limits};

/// Reads a blob to its end and returns its digest.
pub(crate) fn blob_digest(
    content: &Content,
    label: &str,
    watch: &dyn Fn(u64) -> bool,
) -> Result<Digest> {
    digest_of(content, label, watch, |_| Ok(()))
}

/// Reads a blob to its end, hands on what was read, and returns its digest.
pub(crate) fn digest_of(
    content: &Content,
    label: &str,
    watch: &dyn Fn(u64) -> bool,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; limits::BUFFER];
    let mut position = 0;
    loop {
        let read = content.read_at(position, &mut buffer);
        let count = read.map_err(|errno| read_error(label, errno))?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        hasher.update(bytes);
        each(bytes)?;
        position += count as u64;
        if !watch(count as u64) {
            return Err(Error::Interrupted);
        }
    }
}

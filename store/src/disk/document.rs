//! Small files that are read whole.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Error, Result};

/// Reads JSON that this crate wrote.
pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    match serde_json::from_slice(bytes) {
        Ok(document) => Ok(document),
        Err(error) => Ok(crate::oci::refuse(
            &path.to_string_lossy(),
            &error.to_string(),
        )?),
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_document(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // A pipe in its place would keep open(2) waiting.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).context("open", path)?);
    let metadata = file.metadata().context("examine", path)?;
    if !metadata.is_file() {
        return Err(Error::DamagedRecord {
            path: path.to_owned(),
            why: "it is no regular file".to_owned(),
        });
    }
    let len = metadata.len();
    let content = super::blob::Content::whole(file, len);
    Ok(content.read_all(&path.to_string_lossy(), limit)?)
}

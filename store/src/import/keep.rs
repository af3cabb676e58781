//! Keeping the blob of a layer in the store while it is read.
//!
//! A blob that a manifest names is kept byte for byte. The layers of a `docker save` archive have no
//! names but their DiffIDs; those that come uncompressed are kept as zstd, which takes a third of
//! the room and, on two cores, less time than writing them out.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::layer_blob::LayerBlob;
use crate::decode::Format;
use crate::error::{Context, Result};
use crate::values::Hashed;

/// The zstd level for blobs that come uncompressed. Higher ones take longer than all the rest.
const LEVEL: i32 = 1;

/// What is to become of the blob of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The store has it.
    No,
    /// As it is.
    AsIs,
    /// Compressed.
    Compressed,
}

/// Writes a blob to a file.
pub(super) struct Keeper<'a> {
    path: &'a Path,
    form: Form,
}

enum Form {
    AsIs(File),
    Compressed(zstd::stream::write::Encoder<'static, Hashed<File>>),
}

impl<'a> Keeper<'a> {
    pub(super) fn as_is(file: File, path: &'a Path) -> Self {
        Self {
            path,
            form: Form::AsIs(file),
        }
    }

    pub(super) fn compressed(file: File, path: &'a Path) -> Result<Self> {
        let encoder = zstd::stream::write::Encoder::new(Hashed::new(file), LEVEL);
        Ok(Self {
            path,
            form: Form::Compressed(encoder.context("compress to", path)?),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.form {
            Form::AsIs(file) => file.write_all(bytes),
            Form::Compressed(encoder) => encoder.write_all(bytes),
        };
        written.context("write", self.path)
    }

    /// Ends the file. Returns the blob it holds, if that is another than was read.
    pub(super) fn finish(self) -> Result<Option<LayerBlob>> {
        let Form::Compressed(encoder) = self.form else {
            return Ok(None);
        };
        let sink = encoder.finish().context("write", self.path)?;
        let (_, digest, size) = sink.finish();
        Ok(Some(LayerBlob {
            digest,
            size,
            format: Format::Zstd,
        }))
    }
}

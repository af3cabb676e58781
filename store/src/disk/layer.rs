//! Unpacked layers and what is known of them.

use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::seal::{read_record, seal};
use super::staging::Staging;
use super::store::Store;
use crate::error::{Context, Result};
use crate::values::{Digest, LayerFacts, LayerRecord, Ownership};

impl Store {
    /// The directory that is mounted for an image without layers, made if it is missing.
    pub(crate) fn empty_layer(&self) -> Result<LayerPath> {
        let path = self.path().join(EMPTY);
        let mode = Mode::from_raw_mode(0o755);
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) => rustix::fs::chmod(&path, mode).context("change the mode of", &path)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).context("create", &path),
        }
        let diff_id = Digest::of(b"");
        Ok(LayerPath {
            diff_id,
            path,
            record: LayerRecord {
                diff_id,
                size: 0,
                ownership: Ownership::Real,
                trusted: None,
                facts: LayerFacts::default(),
                tree: None,
                blobs: Vec::new(),
            },
        })
    }

    /// What is known of a layer; `None` if it is not there.
    pub(crate) fn layer_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>> {
        let path = self.layer_dir(diff_id).join("layer.json");
        if !path.exists() {
            return Ok(None);
        }
        read_record(&path).map(Some)
    }

    /// Remembers that a blob unpacks to a layer that is there.
    pub(crate) fn add_blob_to_layer(
        &self,
        staging: &Staging,
        diff_id: &Digest,
        blob: &Digest,
    ) -> Result<()> {
        let _lock = self.lock()?;
        let Some(mut record) = self.layer_record(diff_id)? else {
            return Ok(());
        };
        if record.blobs.contains(blob) {
            return Ok(());
        }
        record.blobs.push(*blob);
        let place = self.layer_dir(diff_id).join("layer.json");
        let name = format!("layer-{}.json", diff_id.hex());
        staging.publish_file(&name, &seal(&record), &place)
    }
}

/// The directory that stands for the layers of an image without any.
pub(crate) const EMPTY: &str = "empty";

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPath {
    /// SHA-256 of its uncompressed archive.
    pub diff_id: Digest,
    /// The unpacked tree, as an absolute path.
    pub path: PathBuf,
    /// What is known of it: how owners are kept, and what a mounter need not look for.
    pub record: LayerRecord,
}

impl LayerPath {
    /// Whether this is no layer, but an empty directory that stands for those of an image without.
    pub fn is_stand_in(&self) -> bool {
        self.path.ends_with(EMPTY)
    }
}

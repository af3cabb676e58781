//! Committing: the order of the steps.

use super::config;
use super::layer::{self, LayerWriter};
use super::request::CommitRequest;
use crate::disk::Store;
use crate::error::Result;
use crate::import::{Imported, Terms};
use crate::oci::{Descriptor, MANIFEST, parse_config};
use crate::progress::Progress;
use crate::source::{Document, Files, Found, found_layers};
use crate::values::{ContainerRecord, Digest, Limits, to_json};

impl Store {
    /// Makes an image of a container's image and a layer on top of it.
    ///
    /// # Errors
    /// [`crate::BlobError::Missing`] if something of the container's image is gone, and those of
    /// [`Store::import`].
    pub fn commit(
        &self,
        container: &ContainerRecord,
        layer: LayerWriter,
        request: &CommitRequest,
        progress: &dyn Progress,
    ) -> Result<Imported> {
        let (staging, layer) = layer.finish()?;
        let _shared = self.share()?;
        let (base, config) = self.base_of(container)?;
        let config = config::configuration(&config, &layer, request)?;
        let manifest = config::manifest(&base, &config, &layer);
        let configuration = parse_config(&config, "the configuration of the new image")?;
        let mut diff_ids = container.diff_ids.clone();
        diff_ids.push(layer.diff_id);
        let mut layers = found_layers(&manifest, &diff_ids);
        if let Some(own) = layers.last_mut() {
            own.file = layer::BLOB.to_owned();
        }
        let bytes = to_json(&manifest);
        let found = Found {
            files: Files::Directory(staging.path().to_owned()).into(),
            name: Ok(request.name.clone()),
            config: Document {
                descriptor: manifest.config,
                bytes: config,
            },
            manifest: Some(Document {
                descriptor: Descriptor::new(MANIFEST, Digest::of(&bytes), bytes.len() as u64),
                bytes,
            }),
            configuration,
            layers,
        };
        let terms = Terms {
            ownership: request.ownership,
            limits: Limits::default(),
        };
        self.import_found(&staging, terms, &found, request.name.clone(), progress)
    }
}

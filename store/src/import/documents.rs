//! The documents of an image on their way into the store.

use std::collections::BTreeMap;

use super::job::Import;
use super::layer_blob::LayerBlob;
use crate::disk::blob_label;
use crate::error::Result;
use crate::oci::{Descriptor, MANIFEST, Manifest, REF_NAME};
use crate::source::{Document, platform_of};
use crate::values::{Digest, ImageName, limits, to_json};

impl Import<'_> {
    /// Puts configuration and manifest among the blobs, and returns the descriptor of the manifest.
    pub(super) fn publish_documents(&self, layers: &[LayerBlob]) -> Result<Descriptor> {
        self.publish_document(&self.found.config)?;
        let manifest = match &self.found.manifest {
            Some(manifest) => manifest.clone(),
            None => self.make_manifest(layers),
        };
        self.publish_document(&manifest)?;
        Ok(manifest.descriptor)
    }

    fn publish_document(&self, document: &Document) -> Result<()> {
        let digest = &document.descriptor.digest;
        let stored = self.store.blob(digest).ok().flatten();
        let label = blob_label(digest);
        let stored = stored.and_then(|content| content.read_all(&label, limits::CONFIG_BYTES).ok());
        match stored {
            Some(bytes) if bytes == document.bytes => Ok(()),
            _ => self
                .store
                .put_document(self.staging, digest, &document.bytes),
        }
    }

    /// The manifest of an image that came without one: its configuration and its layers as they
    /// are.
    fn make_manifest(&self, layers: &[LayerBlob]) -> Document {
        let layers = layers
            .iter()
            .map(|blob| Descriptor::new(&blob.format.media_type(), blob.digest, blob.size));
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: self.found.config.descriptor.clone(),
            layers: layers.collect(),
            other: BTreeMap::new(),
        };
        let bytes = to_json(&manifest);
        Document {
            descriptor: Descriptor::new(MANIFEST, Digest::of(&bytes), bytes.len() as u64),
            bytes,
        }
    }

    /// The descriptor of the manifest as it stands in the index of the store.
    pub(super) fn named(&self, manifest: &Descriptor, name: &ImageName) -> Descriptor {
        let mut descriptor = Descriptor::new(&manifest.media_type, manifest.digest, manifest.size);
        if descriptor.media_type.is_empty() {
            descriptor.media_type = MANIFEST.to_owned();
        }
        let name = name.as_str().to_owned();
        descriptor.annotations = Some(BTreeMap::from([(REF_NAME.to_owned(), name)]));
        let platform = platform_of(&self.found.configuration);
        descriptor.platform = (platform.is_plain() && platform.is_known()).then_some(platform);
        descriptor
    }
}

//! Following images from the index to their documents, and checking those.

use std::collections::BTreeMap;

use super::finding::{CheckFault, CheckedObject, RepairedFrom};
use super::job::Check;
use crate::disk::{Store, blob_label};
use crate::error::{Error, Result};
use crate::oci::{
    Descriptor, DocumentType, Index, MANIFEST, REF_NAME, index_of, kind_of, manifest_of,
    parse_config,
};
use crate::source::diff_ids;
use crate::values::{Digest, limits, restore_bit};

impl Check<'_> {
    /// Follows all images, or the one that is asked for.
    pub(super) fn images(&mut self, index: &Index) -> Result<()> {
        let images = match &self.request.image {
            Some(name) => self.store.find_images(name)?,
            None => index.manifests.clone(),
        };
        self.report.lock().images = images.len();
        for descriptor in images {
            let user = match descriptor.ref_name() {
                Some(name) => format!("image {}", crate::values::escaped(name)),
                None => format!("image {}", descriptor.digest),
            };
            self.document(&descriptor.digest, &user, 0)?;
        }
        Ok(())
    }

    /// Checks an index or a manifest and all documents that it leads to, and notes what else it needs.
    pub(super) fn document(&mut self, digest: &Digest, user: &str, depth: usize) -> Result<()> {
        let Some(bytes) = self.whole(digest, user, limits::DOCUMENT_BYTES)? else {
            return Ok(());
        };
        let name = format!("document {digest}");
        match kind_of(&bytes, "", &name) {
            Ok(DocumentType::Manifest) => self.manifest(&bytes, &name, user),
            Ok(DocumentType::Index) if depth < limits::INDEX_DEPTH => {
                for inner in index_of(&bytes, &name)?.manifests {
                    // Other tools copy one platform of an index only.
                    if matches!(self.store.blob(&inner.digest), Ok(Some(_)) | Err(_)) {
                        self.document(&inner.digest, user, depth + 1)?;
                    }
                }
                Ok(())
            }
            // It is whole, so another tool made it so, and no image of this program needs it.
            other => {
                log::info!("{name}: {other:?}");
                Ok(())
            }
        }
    }

    fn manifest(&mut self, bytes: &[u8], name: &str, user: &str) -> Result<()> {
        let manifest = match manifest_of(bytes, name) {
            Ok(manifest) => manifest,
            Err(error) => {
                log::info!("{error}");
                return Ok(());
            }
        };
        for layer in &manifest.layers {
            self.blobs
                .entry(layer.digest)
                .or_default()
                .insert(user.to_owned());
        }
        let digest = manifest.config.digest;
        let Some(config) = self.whole(&digest, user, limits::CONFIG_BYTES)? else {
            return Ok(());
        };
        let name = format!("configuration {digest}");
        let parsed = parse_config(&config, &name).map_err(Error::from);
        let ids = match parsed.and_then(|config| diff_ids(&config, &name)) {
            Ok(ids) => ids,
            Err(error) => {
                log::info!("{error}");
                return Ok(());
            }
        };
        for id in &ids {
            self.layers.entry(*id).or_default().insert(user.to_owned());
        }
        if ids.len() == manifest.layers.len() {
            for (id, layer) in ids.iter().zip(&manifest.layers) {
                self.blobs_of.entry(*id).or_default().insert(layer.digest);
            }
        }
        Ok(())
    }

    /// A document that is whole, or was made so.
    fn whole(&mut self, digest: &Digest, user: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let is_known = self.documents.contains_key(digest);
        let users = self.documents.entry(*digest).or_default();
        users.insert(user.to_owned());
        let users = users.clone();
        self.blobs.remove(digest);
        let label = blob_label(digest);
        let content = self.store.blob(digest);
        let read = content.and_then(|content| match content {
            Some(content) => Ok(Some(content.read_all(&label, limit)?)),
            None => Ok(None),
        });
        let (fault, bytes) = match read {
            Ok(Some(bytes)) if Digest::of(&bytes) == *digest => return Ok(Some(bytes)),
            Ok(Some(bytes)) => (CheckFault::Content, bytes),
            Ok(None) => (CheckFault::Missing, Vec::new()),
            Err(error) => (CheckFault::Unreadable(error.to_string()), Vec::new()),
        };
        let restored = restore_bit(&bytes, |bytes| Digest::of(bytes) == *digest);
        let of_source = || self.document_of_source(digest, limit);
        let (whole, from) = match restored {
            Some(whole) => (Some(whole), RepairedFrom::Itself),
            None => (of_source(), RepairedFrom::Source),
        };
        // An image may be named twice, and what it needs be damaged once.
        if !is_known {
            let remedy = self.repair(|staging| match &whole {
                Some(whole) => {
                    self.store.put_document(staging, digest, whole)?;
                    Ok(from)
                }
                None => super::job::refuse(super::blob::NO_SOURCE),
            });
            self.found(CheckedObject::Document(*digest), &users, fault, remedy)?;
        }
        Ok(whole)
    }

    /// A document of the image that the caller named.
    fn document_of_source(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        let source = self.source.as_ref()?;
        let of_image = source.manifest.iter().chain([&source.config]);
        let mut of_image = of_image.filter(|document| Digest::of(&document.bytes) == *digest);
        if let Some(document) = of_image.next() {
            return Some(document.bytes.clone());
        }
        let content = source
            .files
            .open(&crate::source::blob_file(digest))
            .ok()
            .flatten()?;
        let bytes = content.read_all(&blob_label(digest), limit).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }
}

/// An index of all manifests that are whole, named by their digests.
pub(super) fn recovered_index(store: &Store) -> Result<Index> {
    let mut index = Index::empty();
    for (digest, metadata) in store.entries(&store.blobs_dir())? {
        if metadata.len() > limits::DOCUMENT_BYTES || !store.is_manifest(&digest) {
            continue;
        }
        let descriptor = Descriptor::new(MANIFEST, digest, metadata.len());
        if store.documents(&descriptor).is_err() {
            continue;
        }
        let hex: String = digest.hex().chars().take(12).collect();
        index.manifests.push(Descriptor {
            annotations: Some(BTreeMap::from([(
                REF_NAME.to_owned(),
                format!("recovered:{hex}"),
            )])),
            ..descriptor
        });
    }
    Ok(index)
}

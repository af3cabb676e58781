//! Removing images, and what nobody needs any more.
//!
//! A blob is needed if the index leads to it, by manifests and configurations, or a container stands
//! on its image, or somebody holds that ([`Store::hold`]); a layer, if a needed configuration or a
//! container names it.
//!
//! # Invariants
//!
//! - Nothing is removed unless every document that could lead to it was read: where one is damaged,
//!   all stays.
//! - Nothing is removed while somebody adds to the store with this crate. Other tools write blobs
//!   before the index, and take no lock: a blob that is not known to be of an image that was removed
//!   stays for a while.
//! - Names go before documents, and documents before layers, so that a crash leaves nothing that
//!   leads nowhere.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::blob::blob_label;
use crate::error::Context;
use crate::oci::{Descriptor, refuse};
use crate::share::ImageHold;
use crate::store::{parse_json, read_document};
use crate::{
    ContainerName, ContainerRecord, Digest, ImageName, LayerRecord, Result, Store, limits,
};

/// How long a blob stays that another tool may be about to name in the index.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// Why an image is not removed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Containers stand on it, and it has no other name.
    #[error("the image {name} is used by the container {}", list(containers))]
    Used {
        /// The image.
        name: ImageName,
        /// They.
        containers: Vec<ContainerName>,
    },
    /// It is mounted, or somebody runs it, without a container that has a name.
    #[error("the image {0} is in use: it is mounted, or a command runs in it")]
    Held(ImageName),
}

fn list(names: &[ContainerName]) -> String {
    let names: Vec<&str> = names.iter().map(ContainerName::as_str).collect();
    names.join(", ")
}

/// Blobs that something needed which was removed.
#[derive(Debug, Clone, Default)]
pub struct Unneeded(HashSet<Digest>);

impl Unneeded {
    /// Adds what something else needed.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many blobs.
    pub blobs: usize,
    /// How many unpacked layers.
    pub layers: usize,
    /// The bytes in all of them.
    pub bytes: u64,
}

/// What is needed.
struct Reach<'s> {
    store: &'s Store,
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
}

impl Store {
    /// Takes an image its name. What it needed stays until it is collected.
    ///
    /// # Errors
    /// [`RemoveError`] if this is the last name of an image that is in use, unless `force`: then what
    /// is in use stays until it is so no more.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<(ImageName, Unneeded)> {
        let staging = self.stage()?;
        let _shared = self.share()?;
        let (name, descriptor) = self.find_image(name)?;
        let digest = descriptor.digest;
        let same = |one: &Descriptor| one.digest == digest;
        let names = self.index()?.manifests.into_iter().filter(same).count();
        if !force && names <= 1 {
            self.check_unused(&name, &digest)?;
        }
        let mut reach = Reach::new(self);
        reach.document(&digest, 0)?;
        self.change_index(&staging, |index| {
            let named = |one: &Descriptor| one.ref_name() == Some(name.as_str());
            index.manifests.retain(|one| !named(one));
        })?;
        Ok((name, Unneeded(reach.blobs)))
    }

    fn check_unused(&self, name: &ImageName, manifest: &Digest) -> Result<()> {
        let mut containers = self.containers()?;
        containers.retain(|container| container.manifest_digest == *manifest);
        if !containers.is_empty() {
            return Err(RemoveError::Used {
                name: name.clone(),
                containers: containers.into_iter().map(|one| one.name).collect(),
            }
            .into());
        }
        match self.blob(manifest)?.is_some() && self.unheld(manifest)?.is_none() {
            true => Err(RemoveError::Held(name.clone()).into()),
            false => Ok(()),
        }
    }

    /// What a container needs.
    pub(crate) fn needed_by(&self, container: &ContainerRecord) -> Result<Unneeded> {
        let mut reach = Reach::new(self);
        reach.document(&container.manifest_digest, 0)?;
        Ok(Unneeded(reach.blobs))
    }

    /// Removes what nobody needs. Nothing is done, and nothing returned, while somebody adds to the
    /// store.
    ///
    /// # Errors
    /// If a document cannot be read, so that nobody knows what is needed.
    pub fn collect(&self, unneeded: &Unneeded) -> Result<Option<Collected>> {
        let staging = self.stage()?;
        let Some(_alone) = self.alone()? else {
            return Ok(None);
        };
        let mut reach = Reach::new(self);
        reach.everything()?;
        let blobs = self.entries(&self.blobs_dir())?;
        // Kept until all is done, so that nobody begins to hold what goes.
        let _unheld = self.find_held(&mut reach, &blobs)?;
        let layers = self.entries(&self.layers_dir())?;
        let mut known = unneeded.0.clone();
        let mut collected = Collected::default();
        let mut records = Vec::new();
        for (layer, _) in &layers {
            let record = self.layer_record(layer)?;
            known.extend(record.iter().flat_map(|record| &record.blobs));
            records.push((*layer, record));
        }
        for (blob, metadata) in &blobs {
            let goes = known.contains(blob) || is_old(metadata);
            if goes && !reach.blobs.contains(blob) {
                let path = self.blob_path(blob);
                std::fs::remove_file(&path).context("remove", &path)?;
                collected.blobs += 1;
                collected.bytes += metadata.len();
            }
        }
        for (layer, record) in records {
            if !reach.layers.contains(&layer) {
                // From here on it is a leftover, whatever becomes of this process.
                let path = self.layer_dir(&layer);
                let place = staging.path().join(layer.hex());
                std::fs::rename(&path, &place).context("remove", &path)?;
                collected.layers += 1;
                collected.bytes += record.map_or(0, |record: LayerRecord| record.facts.data);
            }
        }
        Ok(Some(collected))
    }

    /// What is in a directory under a digest. Other names belong to others.
    pub(crate) fn entries(&self, dir: &Path) -> Result<Vec<(Digest, Metadata)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).context("list", dir)? {
            let entry = entry.context("list", dir)?;
            let name = entry.file_name();
            if let Some(digest) = name.to_str().and_then(Digest::from_hex) {
                found.push((digest, entry.metadata().context("examine", dir)?));
            }
        }
        Ok(found)
    }

    /// Adds the images that are held to what is needed; keeps others from holding the rest.
    fn find_held(
        &self,
        reach: &mut Reach<'_>,
        blobs: &[(Digest, Metadata)],
    ) -> Result<Vec<ImageHold>> {
        let mut unheld = Vec::new();
        for (digest, metadata) in blobs {
            let may_be = metadata.len() <= limits::DOCUMENT_BYTES && metadata.is_file();
            if !may_be || reach.blobs.contains(digest) || !self.is_manifest(digest)? {
                continue;
            }
            match self.unheld(digest)? {
                Some(lock) => unheld.push(lock),
                None => reach.document(digest, 0)?,
            }
        }
        Ok(unheld)
    }

    fn is_manifest(&self, digest: &Digest) -> Result<bool> {
        let Some(content) = self.blob(digest)? else {
            return Ok(false);
        };
        let start = content.start::<1>();
        if !start.is_ok_and(|start| start == b"{") {
            return Ok(false);
        }
        let bytes = content.read_all(&blob_label(digest), limits::DOCUMENT_BYTES)?;
        let document: Option<Value> = serde_json::from_slice(&bytes).ok();
        Ok(document.is_some_and(|document| document.get("layers").is_some()))
    }
}

impl<'s> Reach<'s> {
    fn new(store: &'s Store) -> Self {
        Self {
            store,
            blobs: HashSet::new(),
            layers: HashSet::new(),
        }
    }

    /// Follows the index and all containers.
    fn everything(&mut self) -> Result<()> {
        for descriptor in self.store.index()?.manifests {
            self.document(&descriptor.digest, 0)?;
        }
        let dir = self.store.containers_dir();
        for entry in std::fs::read_dir(&dir).context("list", &dir)? {
            let path = entry.context("list", &dir)?.path().join("container.json");
            if !path.exists() {
                continue;
            }
            let bytes = read_document(&path, limits::DOCUMENT_BYTES)?;
            let record: ContainerRecord = parse_json(&path, &bytes)?;
            self.layers.extend(&record.diff_ids);
            self.document(&record.manifest_digest, 0)?;
        }
        Ok(())
    }

    /// Follows an index or a manifest. One that is not there leads nowhere.
    fn document(&mut self, digest: &Digest, depth: usize) -> Result<()> {
        if depth > limits::INDEX_DEPTH || !self.blobs.insert(*digest) {
            return Ok(());
        }
        let Some(document) = self.read(digest)? else {
            return Ok(());
        };
        for field in ["manifests", "subject"] {
            for inner in digests(&document, field) {
                self.document(&inner, depth + 1)?;
            }
        }
        for field in ["layers", "blobs"] {
            self.blobs.extend(digests(&document, field));
        }
        for config in digests(&document, "config") {
            self.blobs.insert(config);
            self.configuration(&document, &config)?;
        }
        Ok(())
    }

    /// The layers that a configuration names.
    fn configuration(&mut self, manifest: &Value, digest: &Digest) -> Result<()> {
        let media_type = manifest["config"]["mediaType"].as_str().unwrap_or_default();
        if !media_type.is_empty() && !crate::oci::is_config(media_type) {
            return Ok(());
        }
        let Some(document) = self.read(digest)? else {
            return Ok(());
        };
        let ids = document["rootfs"]["diff_ids"]
            .as_array()
            .into_iter()
            .flatten();
        let ids = ids.filter_map(|id| id.as_str()?.parse::<Digest>().ok());
        self.layers.extend(ids);
        Ok(())
    }

    /// A document, verified: a damaged one could hide what it leads to.
    fn read(&self, digest: &Digest) -> Result<Option<Value>> {
        let Some(content) = self.store.blob(digest)? else {
            return Ok(None);
        };
        let bytes = content.read_verified(digest, content.len(), limits::CONFIG_BYTES)?;
        match serde_json::from_slice(&bytes) {
            Ok(document) => Ok(Some(document)),
            Err(error) => Ok(refuse(&blob_label(digest), &error.to_string())?),
        }
    }
}

/// The digests of a descriptor, or of a list of them.
fn digests(document: &Value, field: &str) -> Vec<Digest> {
    let value = &document[field];
    let descriptors = match value {
        Value::Array(list) => list.iter().collect(),
        other => vec![other],
    };
    let digest = |one: &Value| one["digest"].as_str()?.parse().ok();
    descriptors.into_iter().filter_map(digest).collect()
}

/// Whether nobody can be about to name it.
fn is_old(metadata: &Metadata) -> bool {
    let age = metadata
        .modified()
        .ok()
        .and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > GRACE)
}

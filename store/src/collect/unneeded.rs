//! Removing images, and what nothing needs any more.
//!
//! A blob is needed if the index leads to it, by manifests and configurations, or a container stands
//! on its image, or a process holds that ([`Store::hold`]); a layer, if a needed configuration or a
//! container names it.
//!
//! # Invariants
//!
//! - While a document is damaged it is not known what is needed. Then only that goes which what was removed
//!   needed, and which nothing else is seen to need; the rest stays until the document is repaired or removed.
//! - While the record of a container cannot be read all stays: its changes are worth nothing without the layers.
//! - Nothing is removed while a process adds to the store with this crate. Other tools write blobs
//!   before the index, and take no lock: a blob that is not known to be of an image that was removed
//!   stays for a while.
//! - Names go before documents, and documents before layers, so that a crash leaves nothing that
//!   leads nowhere.
//! - Nothing here needs free space.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::reach::{Reach, starts_as_document};
use crate::disk::{ImageHold, Store, blob_label, discard, sweep};
use crate::error::{Context, RemoveError, Result};
use crate::oci::Descriptor;
use crate::values::{ContainerRecord, Digest, LayerRecord, escaped, limits};

/// How long a blob stays that another tool may be about to name in the index.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// Blobs and layers that something needed which was removed.
#[derive(Debug, Clone, Default)]
pub struct Unneeded {
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
}

impl Unneeded {
    fn of(reach: Reach<'_>) -> Self {
        Self {
            blobs: reach.blobs,
            layers: reach.layers,
        }
    }

    /// Adds what something else needed.
    pub fn add(&mut self, other: Self) {
        self.blobs.extend(other.blobs);
        self.layers.extend(other.layers);
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
    /// How many damaged documents and records kept more from being removed than was needed by what was removed.
    pub damaged: usize,
}

impl Store {
    /// Takes an image its name. What it needed stays until it is collected.
    ///
    /// An image is also found by the digest of its manifest, or the first digits of it; then all its names go.
    /// Returns the names that went, or the digest where there was none.
    ///
    /// # Errors
    /// [`RemoveError`] if this is the last name of an image that is in use, unless `force`: then what
    /// is in use stays until it is so no more. Likewise if a digest has several names.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<(Vec<String>, Unneeded)> {
        sweep(&self.staging_dir())?;
        let _shared = self.share()?;
        let found = self.find_images(name)?;
        let names: Vec<String> = found.iter().map(shown).collect();
        let Some(digest) = found.first().map(|one| one.digest) else {
            return Ok((names, Unneeded::default()));
        };
        if !force && names.len() > 1 {
            return Err(RemoveError::SeveralNames { digest, names }.into());
        }
        let same = |one: &Descriptor| one.digest == digest;
        let all = self.index()?.manifests.into_iter().filter(same).count();
        if !force && all <= found.len() {
            self.check_unused(names.first().map_or("", String::as_str), &digest)?;
        }
        let mut reach = Reach::new(self);
        reach.document(&digest, 0);
        let goes = |one: &Descriptor| {
            let named =
                |gone: &Descriptor| gone.ref_name().is_some() && gone.ref_name() == one.ref_name();
            found.iter().any(|gone| gone == one || named(gone))
        };
        self.change_index(|index| index.manifests.retain(|one| !goes(one)))?;
        Ok((names, Unneeded::of(reach)))
    }

    fn check_unused(&self, name: &str, manifest: &Digest) -> Result<()> {
        let mut containers = self.containers()?;
        containers.retain(|container| container.manifest_digest == *manifest);
        if !containers.is_empty() {
            return Err(RemoveError::Used {
                name: name.to_owned(),
                containers: containers.into_iter().map(|one| one.name).collect(),
            }
            .into());
        }
        if self.is_held(manifest) {
            Err(RemoveError::Held(name.to_owned()).into())
        } else {
            Ok(())
        }
    }

    /// What a container needs.
    pub(crate) fn needed_by(&self, container: &ContainerRecord) -> Unneeded {
        let mut reach = Reach::new(self);
        reach.layers.extend(&container.diff_ids);
        reach.document(&container.manifest_digest, 0);
        Unneeded::of(reach)
    }

    /// Removes an image that has lost its names while it was in use, now that it is used no more. Nothing is done
    /// if it has a name, or is still used.
    ///
    /// # Errors
    /// As [`Store::collect`].
    pub fn collect_unnamed(&self, manifest: &Digest) -> Result<Option<Collected>> {
        let named = self
            .index()?
            .manifests
            .iter()
            .any(|one| one.digest == *manifest);
        if named || !matches!(self.blob(manifest), Ok(Some(_))) {
            return Ok(None);
        }
        let mut reach = Reach::new(self);
        reach.document(manifest, 0);
        self.collect(&Unneeded::of(reach))
    }

    /// Removes what nothing needs, and what interrupted processes left. Nothing is done, and nothing returned,
    /// while another process adds to the store.
    ///
    /// # Errors
    /// If the index is lost, so that it is not known what is needed, and those of unlink(2).
    pub fn collect(&self, unneeded: &Unneeded) -> Result<Option<Collected>> {
        sweep(&self.staging_dir())?;
        let Some(_alone) = self.alone()? else {
            return Ok(None);
        };
        let mut reach = Reach::new(self);
        reach.everything()?;
        let blobs = self.entries(&self.blobs_dir())?;
        // Kept until all is done, so that no process begins to hold what goes.
        let _unheld = self.find_held(&mut reach, &blobs)?;
        let layers = self.records()?;
        let mut collected = Collected {
            damaged: reach.damaged + reach.lost_containers,
            ..Collected::default()
        };
        if reach.lost_containers > 0 {
            return Ok(Some(collected));
        }
        let of_layers = layers.iter().flat_map(|(_, record)| record);
        let of_layers: HashSet<Digest> =
            of_layers.flat_map(|record| record.blobs.clone()).collect();
        for (blob, metadata) in &blobs {
            let goes = match reach.damaged {
                0 => of_layers.contains(blob) || is_old(metadata),
                _ => false,
            };
            if (goes || unneeded.blobs.contains(blob)) && !reach.blobs.contains(blob) {
                self.remove_known(&self.blob_path(blob), metadata)?;
                self.forget_origins(blob);
                collected.blobs += 1;
                collected.bytes += metadata.len();
            }
        }
        for (layer, record) in layers {
            let goes = reach.damaged == 0 || unneeded.layers.contains(&layer);
            if goes && !reach.layers.contains(&layer) {
                discard(&self.staging_dir(), &self.layer_dir(&layer))?;
                collected.layers += 1;
                collected.bytes += record.map_or(0, |record| record.facts.data);
            }
        }
        Ok(Some(collected))
    }

    /// All layers, with what is known of them.
    fn records(&self) -> Result<Vec<(Digest, Option<LayerRecord>)>> {
        let layers = self.entries(&self.layers_dir())?.into_iter();
        let record = |layer: &Digest| {
            self.layer_record(layer).unwrap_or_else(|error| {
                log::warn!("{error}");
                None
            })
        };
        Ok(layers.map(|(layer, _)| (layer, record(&layer))).collect())
    }

    /// Removes a file or directory of the store, which was examined.
    pub(crate) fn remove_known(&self, path: &Path, metadata: &Metadata) -> Result<()> {
        if metadata.is_dir() {
            discard(&self.staging_dir(), path)
        } else {
            std::fs::remove_file(path).context("remove", path)
        }
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
            if !may_be || reach.blobs.contains(digest) {
                continue;
            }
            match self.unheld(digest)? {
                // No process can begin to hold what is no manifest, or a damaged one.
                Some(lock) if self.is_manifest(digest) => unheld.push(lock),
                Some(_) => {}
                None => reach.document(digest, 0),
            }
        }
        Ok(unheld)
    }

    pub(crate) fn is_manifest(&self, digest: &Digest) -> bool {
        let Ok(Some(content)) = self.blob(digest) else {
            return false;
        };
        if !starts_as_document(&content) {
            return false;
        }
        let bytes = content.read_all(&blob_label(digest), limits::DOCUMENT_BYTES);
        let document: Option<Value> = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        document.is_some_and(|document| document.get("layers").is_some())
    }
}

/// How an image is called that is removed.
fn shown(descriptor: &Descriptor) -> String {
    match descriptor.ref_name() {
        Some(name) => escaped(name).to_string(),
        None => descriptor.digest.to_string(),
    }
}

/// Whether no process can be about to name it.
fn is_old(metadata: &Metadata) -> bool {
    let age = metadata
        .modified()
        .ok()
        .and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > GRACE)
}

//! How much room images and containers take.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::disk::Store;
use crate::error::{Context, Error, Result};
use crate::oci::Descriptor;
use crate::source::diff_ids;
use crate::values::{ContainerName, Digest, ImageName};

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// By name.
    pub images: Vec<ImageUsage>,
    /// By name.
    pub containers: Vec<ContainerUsage>,
    /// All unpacked layers.
    pub layers: Room,
    /// All blobs: documents, and layers as they were imported.
    pub blobs: Room,
}

/// A number of things, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// How many.
    pub count: usize,
    /// In bytes.
    pub bytes: u64,
}

/// The room of an image: the data in its unpacked layers, and its blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Its name.
    pub name: ImageName,
    /// In bytes.
    pub size: u64,
    /// How much of that other images need, too.
    pub shared: u64,
    /// How much would come free without it.
    pub unique: u64,
}

/// The room of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: ContainerName,
    /// What its changes take on disk, in bytes.
    pub size: u64,
}

/// One thing that takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Blob(Digest),
    Layer(Digest),
}

impl Store {
    /// What takes how much room.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        let mut parts: BTreeMap<ImageName, BTreeSet<Part>> = BTreeMap::new();
        for descriptor in &self.index()?.manifests {
            let Some(name) = descriptor.ref_name().and_then(ImageName::stored) else {
                continue;
            };
            match self.parts_of(descriptor) {
                Ok(found) => drop(parts.insert(name, found)),
                Err(error) => log::warn!("an image in the store is passed over: {error}"),
            }
        }
        let mut users: BTreeMap<Part, usize> = BTreeMap::new();
        for part in parts.values().flatten() {
            *users.entry(*part).or_default() += 1;
        }
        let mut sizes = BTreeMap::new();
        for part in users.keys() {
            sizes.insert(*part, self.size_of(*part)?);
        }
        for (name, parts) in parts {
            let of = |part: &Part| sizes.get(part).copied().unwrap_or_default();
            let is_shared = |part: &&Part| users.get(part).is_some_and(|count| *count > 1);
            let size = parts.iter().map(of).sum();
            let shared = parts.iter().filter(is_shared).map(of).sum();
            usage.images.push(ImageUsage {
                name,
                size,
                shared,
                unique: size - shared,
            });
        }
        for (_, metadata) in self.entries(&self.blobs_dir())? {
            usage.blobs.add(metadata.len());
        }
        for (digest, _) in self.entries(&self.layers_dir())? {
            usage.layers.add(self.size_of(Part::Layer(digest))?);
        }
        for container in self.containers()? {
            let upper = self
                .containers_dir()
                .join(container.name.as_str())
                .join("upper");
            usage.containers.push(ContainerUsage {
                name: container.name,
                size: on_disk(&upper)?,
            });
        }
        Ok(usage)
    }

    /// What an image consists of.
    fn parts_of(&self, descriptor: &Descriptor) -> Result<BTreeSet<Part>> {
        let (manifest, config) = self.documents(descriptor)?;
        let blobs = manifest.layers.iter().map(|layer| layer.digest);
        let blobs = blobs.chain([descriptor.digest, manifest.config.digest]);
        let layers = diff_ids(&config, &format!("image {}", descriptor.digest))?;
        Ok(blobs
            .map(Part::Blob)
            .chain(layers.into_iter().map(Part::Layer))
            .collect())
    }

    /// In bytes; nothing for what is not there, or damaged.
    fn size_of(&self, part: Part) -> Result<u64> {
        Ok(match part {
            Part::Blob(digest) => readable(self.blob(&digest))?.map_or(0, |content| content.len()),
            Part::Layer(digest) => {
                let record = readable(self.layer_record(&digest))?;
                record.map_or(0, |record| record.facts.data)
            }
        })
    }
}

/// What is damaged does not count, and does not keep the rest from being counted.
fn readable<T>(read: Result<Option<T>>) -> Result<Option<T>> {
    match read {
        Err(error @ (Error::DamagedRecord { .. } | Error::Blob(_))) => {
            log::warn!("{error}");
            Ok(None)
        }
        read => read,
    }
}

impl Room {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What the files below a directory take, each counted once. What goes meanwhile, or is closed to
/// this user, does not count.
fn on_disk(root: &Path) -> Result<u64> {
    const BLOCK: u64 = 512;
    let mut left = vec![root.to_owned()];
    let mut seen = HashSet::new();
    let mut bytes = 0;
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if dir == root => return Err(error).context("list", root),
            Err(error) => {
                log::debug!("{}: {error}", dir.display());
                continue;
            }
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.nlink() < 2 || metadata.is_dir() || seen.insert(metadata.ino()) {
                bytes += metadata.blocks() * BLOCK;
            }
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

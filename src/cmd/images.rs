//! `plyfs images`.

use std::collections::HashSet;
use std::path::Path;

use clap::Args;
use plyfs_store::ImageRecord;
use serde::Serialize;

use crate::error::Result;
use crate::{output, storage};

/// List the images in the store
///
/// SIZE is that of the layers as uncompressed archives; each layer is unpacked once, however many images have it. "plyfs
/// df -v" shows what an image takes on disk: the data in its unpacked layers, and its compressed blobs.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The first digits of the digests alone, each once, for inspect and rmi --force
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Only the images of this name: all tags of a repository, or the one that is given
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

/// An image as programs read it.
#[derive(Serialize)]
struct Listed {
    name: String,
    /// Digest of the manifest.
    digest: String,
    /// RFC 3339, if the image says.
    created: Option<String>,
    platform: String,
    layers: usize,
    /// Bytes of the uncompressed layers.
    size: u64,
    /// Bytes of the blobs as they were imported.
    compressed_size: u64,
}

/// Lists the images in the store.
pub(crate) fn images(args: &ImagesArgs, store: Option<&Path>) -> Result {
    let mut records = match storage::open_if_there(store, storage::location(store)?)? {
        None => Vec::new(),
        Some(store) => store.images()?,
    };
    if let Some(wanted) = &args.name {
        records.retain(|record| is_of(record, wanted));
    }
    if args.json {
        let listed: Vec<Listed> = records.iter().map(listed).collect();
        return output::json(&listed);
    }
    if args.quiet {
        return output::write(&digests(&records));
    }
    let rows: Vec<[String; 5]> = records.iter().map(row).collect();
    output::table(["NAME", "DIGEST", "PLATFORM", "CREATED", "SIZE"], &rows)
}

/// Whether an image has this name, or is in this repository if the name has no tag.
fn is_of(record: &ImageRecord, wanted: &str) -> bool {
    let repository = wanted.rsplit('/').next().unwrap_or(wanted);
    if repository.contains(':') {
        return record.name.is_meant_by(wanted);
    }
    let tag = record.name.as_str().rsplit_once(':');
    tag.is_some_and(|(_, tag)| record.name.is_meant_by(&format!("{wanted}:{tag}")))
}

fn listed(record: &ImageRecord) -> Listed {
    Listed {
        name: record.name.to_string(),
        digest: record.manifest_digest.to_string(),
        created: record.created.clone(),
        platform: record.platform.to_string(),
        layers: record.layers,
        size: record.size,
        compressed_size: record.compressed_size,
    }
}

/// A line for each image, whatever number of names it has.
fn digests(records: &[ImageRecord]) -> String {
    let mut seen = HashSet::new();
    let images = records.iter();
    let images = images.filter(|record| seen.insert(record.manifest_digest));
    images.map(|record| short_digest(record) + "\n").collect()
}

/// As many digits of the digest as tell it from others.
fn short_digest(record: &ImageRecord) -> String {
    record.manifest_digest.hex().chars().take(12).collect()
}

fn row(record: &ImageRecord) -> [String; 5] {
    let created = record.created.as_deref().unwrap_or("");
    [
        record.name.to_string(),
        short_digest(record),
        record.platform.to_string(),
        output::time(created),
        output::size(record.size),
    ]
}

//! Archives of `docker save`: a file `manifest.json` that lists, for each image, the configuration,
//! the tags, and the layers, bottom first (Docker Image Specification v1.2.0, "Combined Image JSON +
//! Filesystem Changeset Format").
//!
//! Layers are `ID/layer.tar`, uncompressed, and may be links to one another; newer writers put them
//! at `blobs/sha256/HEX`, where some compress them. There is no manifest with digests: what verifies
//! a layer is its DiffID in the configuration.

use std::sync::Arc;

use serde::Deserialize;

use super::files::Files;
use super::found::{Document, Found, FoundLayer};
use super::select::{Choice, by_number};
use super::spec::Source;
use crate::error::{BlobError, Result, SourceError};
use crate::oci::{Descriptor, IMAGE_CONFIG, Platform, parse_config, refuse};
use crate::values::{Digest, ImageName, Reference, limits};

/// One image in `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Item {
    /// The files of its layers, bottom first; an image of settings alone has none.
    fn layers(&self) -> &[String] {
        self.layers.as_deref().unwrap_or_default()
    }

    fn tags(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str)
    }
}

/// Finds the image that the source names.
pub(super) fn find(
    source: &Source,
    files: &Arc<Files>,
    wanted: Option<&Platform>,
) -> Result<Found> {
    let item = select(source, files, items(source, files)?)?;
    let asked = match source.choice()? {
        Choice::Named { name, .. } => name,
        _ => None,
    };
    let tag = asked.or_else(|| item.tags().next());
    let name = match tag {
        Some(tag) => source.full_name(tag, &[], true),
        None => source.own_name(None),
    };
    found(files, &item, name, wanted)
}

/// Finds all images of the source, each under every name it has.
pub(super) fn find_all(
    source: &Source,
    files: &Arc<Files>,
    wanted: Option<&Platform>,
) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    let items = items(source, files)?;
    for (number, item) in items.iter().enumerate() {
        for tag in item.tags() {
            let name = source.full_name(tag, &[], true);
            all.push(found(files, item, name, wanted)?);
        }
        if item.tags().next().is_none() {
            let name = match items.len() {
                1 => source.own_name(None),
                _ => {
                    let path = source.path.clone();
                    Err(SourceError::Nameless { path, number })
                }
            };
            all.push(found(files, item, name, wanted)?);
        }
    }
    Ok(all)
}

/// What `manifest.json` lists.
fn items(source: &Source, files: &Files) -> Result<Vec<Item>> {
    let Some(list) = files.open("manifest.json")? else {
        let why = match files.open("oci-layout")? {
            Some(_) => "it is an OCI image layout; name it by oci-archive:",
            None => "it has no manifest.json",
        };
        return Err(SourceError::Kind {
            path: source.path.clone(),
            what: "an archive of docker save",
            why: why.to_owned(),
        }
        .into());
    };
    let bytes = list.read_all("manifest.json", limits::DOCUMENT_BYTES)?;
    match serde_json::from_slice(&bytes) {
        Ok(items) => Ok(items),
        Err(error) => Ok(refuse("manifest.json", &error.to_string())?),
    }
}

/// Reads what an item leads to.
fn found(
    files: &Arc<Files>,
    item: &Item,
    name: Result<ImageName, SourceError>,
    wanted: Option<&Platform>,
) -> Result<Found> {
    let config = configuration(files, item)?;
    let configuration = parse_config(&config.bytes, &item.config)?;
    super::found::check_platform(&configuration, wanted)?;
    let diff_ids = super::found::diff_ids(&configuration, &item.config)?;
    if diff_ids.len() != item.layers().len() || diff_ids.len() > limits::LAYERS {
        let (layers, ids) = (item.layers().len(), diff_ids.len());
        let why = format!("it lists {layers} layers, but {} names {ids}", item.config);
        refuse::<()>("manifest.json", &why)?;
    }
    let layers = diff_ids.iter().zip(item.layers());
    let layers = layers
        .map(|(diff_id, file)| layer(files, diff_id, file))
        .collect::<Result<_>>()?;
    Ok(Found {
        name,
        files: Arc::clone(files),
        manifest: None,
        config,
        configuration,
        layers,
    })
}

/// The image that the source chooses: by tag, number or ID, or the only one.
fn select(source: &Source, files: &Files, mut items: Vec<Item>) -> Result<Item> {
    let path = || source.path.clone();
    let tags = items.iter().flat_map(Item::tags).map(str::to_owned);
    let tags: Vec<String> = tags.collect();
    if items.is_empty() {
        return Err(SourceError::Empty(path()).into());
    }
    match source.choice()? {
        Choice::Only => {}
        Choice::Number(number) => return Ok(by_number(source, items, number)?),
        Choice::Named { text, name, digest } => {
            if let Some(name) = name {
                items.retain(|item| item.tags().any(|tag| is_same(tag, name)));
            }
            if let Some(digest) = digest {
                items = with_id(files, items, name, digest)?;
            }
            if items.is_empty() {
                let (path, tag) = (path(), text.to_owned());
                return Err(SourceError::NoTag { path, tag, tags }.into());
            }
        }
    }
    match items.len() {
        1 => Ok(items.swap_remove(0)),
        _ => Err(SourceError::Several { path: path(), tags }.into()),
    }
}

/// Those of the images that have this ID, which is the digest of the configuration.
fn with_id(
    files: &Files,
    items: Vec<Item>,
    name: Option<&str>,
    wanted: Digest,
) -> Result<Vec<Item>> {
    let mut found = None;
    let mut same = Vec::new();
    for item in items {
        let id = configuration(files, &item)?.descriptor.digest;
        found = Some(id);
        if id == wanted {
            same.push(item);
        }
    }
    match (same.is_empty(), name, found) {
        (true, Some(name), Some(found)) => {
            let name = name.to_owned();
            Err(SourceError::OtherDigest {
                name,
                wanted,
                found,
            }
            .into())
        }
        _ => Ok(same),
    }
}

/// Whether both are names of one image for Docker.
fn is_same(tag: &str, name: &str) -> bool {
    match (Reference::parse(tag), Reference::parse(name)) {
        (Ok(tag), Ok(name)) => tag.is_same(&name),
        _ => tag == name,
    }
}

/// Reads the configuration, whose name is that of its digest.
fn configuration(files: &Files, item: &Item) -> Result<Document> {
    let Some(content) = files.open(&item.config)? else {
        let blob = item.config.clone();
        return Err(BlobError::Missing { blob }.into());
    };
    let bytes = content.read_all(&item.config, limits::CONFIG_BYTES)?;
    let actual = Digest::of(&bytes);
    if digest_in_name(&item.config).is_some_and(|expected| expected != actual) {
        let blob = item.config.clone();
        return Err(BlobError::Corrupt { blob, actual }.into());
    }
    let descriptor = Descriptor::new(IMAGE_CONFIG, actual, bytes.len() as u64);
    Ok(Document { descriptor, bytes })
}

fn layer(files: &Files, diff_id: &Digest, file: &str) -> Result<FoundLayer> {
    let Some(content) = files.open(file)? else {
        let blob = file.to_owned();
        return Err(BlobError::Missing { blob }.into());
    };
    Ok(FoundLayer {
        diff_id: *diff_id,
        file: file.to_owned(),
        label: format!("layer \"{}\"", file),
        // Only where blobs are kept by their digests does a name promise anything: the directory of
        // a `layer.tar` is named by something else.
        blob: file
            .starts_with("blobs/sha256/")
            .then(|| digest_in_name(file))
            .flatten()
            .map(|digest| (digest, content.len())),
    })
}

/// The digest that the name of a file says, as in `blobs/sha256/HEX` and `HEX.json`.
fn digest_in_name(file: &str) -> Option<Digest> {
    let name = file.rsplit('/').next().unwrap_or(file);
    Digest::from_hex(name.strip_suffix(".json").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_a_name() {
        let hex = Digest::of(b"").hex();
        for name in [format!("{hex}.json"), format!("blobs/sha256/{hex}")] {
            assert_eq!(digest_in_name(&name), Some(Digest::of(b"")));
        }
        assert_eq!(digest_in_name("abc/layer.tar"), None);
    }
}

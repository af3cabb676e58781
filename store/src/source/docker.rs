//! Archives of `docker save`: a file `manifest.json` that lists, for each image, the configuration,
//! the tags, and the layers, bottom first (Docker Image Specification v1.2.0, "Combined Image JSON +
//! Filesystem Changeset Format").
//!
//! Layers are `ID/layer.tar`, uncompressed, and may be links to one another; newer writers put them
//! at `blobs/sha256/HEX`, where some compress them. There is no manifest with digests: what verifies
//! a layer is its DiffID in the configuration.

use serde::Deserialize;

use super::{Document, Files, Found, FoundLayer, Source, SourceError};
use crate::blob::BlobError;
use crate::oci::{Descriptor, IMAGE_CONFIG, parse_config, refuse};
use crate::{Digest, ImageName, Platform, Result, limits};

/// What the tags of Docker's own images begin with.
const LIBRARY: &str = "docker.io/library/";

/// One image in `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Item {
    fn tags(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str)
    }
}

/// Finds the image that the source names.
pub(super) fn find(source: &Source, files: Files, wanted: Option<&Platform>) -> Result<Found> {
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
    let items: Vec<Item> = match serde_json::from_slice(&bytes) {
        Ok(items) => items,
        Err(error) => refuse("manifest.json", &error.to_string())?,
    };
    let item = select(source, items)?;
    let config = configuration(&files, &item)?;
    let configuration = parse_config(&config.bytes, &item.config)?;
    super::check_platform(&configuration, wanted)?;
    let diff_ids = super::diff_ids(&configuration, &item.config)?;
    if diff_ids.len() != item.layers.len() || diff_ids.len() > limits::LAYERS {
        let (layers, ids) = (item.layers.len(), diff_ids.len());
        let why = format!("it lists {layers} layers, but {} names {ids}", item.config);
        refuse::<()>("manifest.json", &why)?;
    }
    let layers = diff_ids.iter().zip(&item.layers);
    let layers = layers
        .map(|(diff_id, file)| layer(&files, diff_id, file))
        .collect::<Result<_>>()?;
    Ok(Found {
        name: image_name(source, &item),
        files,
        manifest: None,
        config,
        configuration,
        layers,
    })
}

/// The image with the tag of the source, or the only one.
fn select(source: &Source, mut items: Vec<Item>) -> Result<Item, SourceError> {
    let path = source.path.clone();
    let tags = || {
        items
            .iter()
            .flat_map(Item::tags)
            .map(str::to_owned)
            .collect()
    };
    let Some(tag) = &source.tag else {
        return match items.len() {
            0 => Err(SourceError::Empty(path)),
            1 => Ok(items.remove(0)),
            _ => Err(SourceError::Several { path, tags: tags() }),
        };
    };
    let same = |other: &str| full(other) == full(tag);
    match items.iter().position(|item| item.tags().any(same)) {
        Some(at) => Ok(items.remove(at)),
        None => Err(SourceError::NoTag {
            path,
            tag: tag.clone(),
            tags: tags(),
        }),
    }
}

/// A reference in its long form: with registry and tag, as Docker fills them in.
fn full(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    let tag = if last.contains([':', '@']) {
        ""
    } else {
        ":latest"
    };
    match reference.split_once('/') {
        None => format!("{LIBRARY}{reference}{tag}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            format!("{reference}{tag}")
        }
        Some(_) => format!("docker.io/{reference}{tag}"),
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
        declared: None,
    })
}

/// The digest that the name of a file says, as in `blobs/sha256/HEX` and `HEX.json`.
fn digest_in_name(file: &str) -> Option<Digest> {
    let name = file.rsplit('/').next().unwrap_or(file);
    Digest::from_hex(name.strip_suffix(".json").unwrap_or(name))
}

fn image_name(source: &Source, item: &Item) -> Option<ImageName> {
    let asked = source.tag.as_deref();
    let tag = asked.or_else(|| item.tags().next());
    match tag {
        Some(tag) => {
            let short = tag.strip_prefix(LIBRARY).unwrap_or(tag);
            short.parse().ok().or_else(|| ImageName::from_words(short))
        }
        None => ImageName::from_parts(&source.base_name()?, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_compared_in_their_long_form() {
        for (short, long) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("user/app", "docker.io/user/app:latest"),
            ("quay.io/a/b:1", "quay.io/a/b:1"),
            ("localhost/a", "localhost/a:latest"),
            ("host:5000/a", "host:5000/a:latest"),
        ] {
            assert_eq!(full(short), long);
        }
    }

    #[test]
    fn a_digest_is_read_from_a_name() {
        let hex = Digest::of(b"").hex();
        for name in [format!("{hex}.json"), format!("blobs/sha256/{hex}")] {
            assert_eq!(digest_in_name(&name), Some(Digest::of(b"")));
        }
        assert_eq!(digest_in_name("abc/layer.tar"), None);
    }
}

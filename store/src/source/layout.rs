//! OCI image layouts, in a directory or an archive (OCI image specification, "image-layout.md").

use std::sync::Arc;

use serde::Deserialize;

use super::files::{Files, blob_file};
use super::found::{Document, Found, FoundLayer};
use super::select;
use super::select::Choice;
use super::spec::Source;
use crate::error::{Result, SourceError};
use crate::oci::{
    Descriptor, DocumentType, Manifest, Platform, REF_NAME, index_of, kind_of, manifest_of,
    parse_config, refuse,
};
use crate::values::{Digest, ImageName, limits};

/// Finds the image that the source names.
pub(super) fn find(
    source: &Source,
    files: &Arc<Files>,
    wanted: Option<&Platform>,
) -> Result<Found> {
    let image = select::choose(source, manifests(source, files)?)?;
    found(source, files, image, wanted)
}

/// Finds all images of the source.
pub(super) fn find_all(
    source: &Source,
    files: &Arc<Files>,
    wanted: Option<&Platform>,
) -> Result<Vec<Found>> {
    let images = select::images(manifests(source, files)?);
    let found = |image| found(source, files, image, wanted);
    images.into_iter().map(found).collect()
}

/// What `index.json` lists.
fn manifests(source: &Source, files: &Files) -> Result<Vec<Descriptor>> {
    check_layout(source, files)?;
    let Some(index) = files.open("index.json")? else {
        return Err(not_a_layout(source, "it has no index.json").into());
    };
    let bytes = index.read_all("index.json", limits::DOCUMENT_BYTES)?;
    if kind_of(&bytes, "", "index.json")? != DocumentType::Index {
        refuse::<()>("index.json", "it is not an index")?;
    }
    let index = index_of(&bytes, "index.json")?;
    // Only if nothing else can be meant: with a name for one of them, or with no others.
    let asked = |entry: &serde_json::Value| {
        let name = entry["annotations"][REF_NAME].as_str();
        name.is_some() && name == source.tag.as_deref()
    };
    let (own, foreign) = (&index.manifests, &index.foreign);
    if own.is_empty() && !foreign.is_empty() || foreign.iter().any(asked) {
        let why = "the image has a digest of another kind than SHA-256, the only one supported";
        refuse::<()>("index.json", why)?;
    }
    Ok(index.manifests)
}

/// Follows the descriptors of one image.
fn found(
    source: &Source,
    files: &Arc<Files>,
    candidates: Vec<Descriptor>,
    wanted: Option<&Platform>,
) -> Result<Found> {
    let named = candidates.first().cloned();
    let document = manifest(source, files, candidates, wanted)?;
    let name = match named {
        Some(named) => image_name(source, &named, &document.descriptor.digest),
        None => Err(SourceError::NoName(source.path.clone())),
    };
    image(files, document, name, wanted)
}

fn not_a_layout(source: &Source, why: &str) -> SourceError {
    SourceError::Kind {
        path: source.path.clone(),
        what: "an OCI image layout",
        why: why.to_owned(),
    }
}

/// The file that marks an image layout.
#[derive(Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// Whether these bytes mark an image layout, of whatever version.
pub(crate) fn is_marker(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Marker>(bytes).is_ok()
}

/// Checks `oci-layout`, the file that marks an image layout.
fn check_layout(source: &Source, files: &Files) -> Result<()> {
    let Some(marker) = files.open("oci-layout")? else {
        let why = match files.open("manifest.json")? {
            Some(_) => "it is what docker save writes; name it by docker-archive:",
            None => "it has no file oci-layout",
        };
        return Err(not_a_layout(source, why).into());
    };
    let bytes = marker.read_all("oci-layout", limits::DOCUMENT_BYTES)?;
    match serde_json::from_slice::<Marker>(&bytes) {
        Ok(marker) if marker.version.starts_with("1.") => Ok(()),
        Ok(marker) => {
            let why = format!(
                "version {} is not known",
                crate::values::escaped(&marker.version)
            );
            Err(not_a_layout(source, &why).into())
        }
        Err(_) => Err(not_a_layout(source, "its file oci-layout is broken").into()),
    }
}

/// Goes from the descriptors in an index to the manifest for the platform, through nested indexes.
fn manifest(
    source: &Source,
    files: &Files,
    mut candidates: Vec<Descriptor>,
    wanted: Option<&Platform>,
) -> Result<Document> {
    for _ in 0..limits::INDEX_DEPTH {
        let descriptor = select::by_platform(&source.path, candidates, wanted)?;
        let bytes = files.document(&descriptor.digest, descriptor.size, limits::DOCUMENT_BYTES)?;
        let name = format!("document {}", descriptor.digest);
        match kind_of(&bytes, &descriptor.media_type, &name)? {
            DocumentType::Manifest => return Ok(Document { descriptor, bytes }),
            DocumentType::Index => candidates = index_of(&bytes, &name)?.manifests,
        }
        if candidates.is_empty() {
            return Err(SourceError::Empty(source.path.clone()).into());
        }
    }
    Err(SourceError::TooDeep(source.path.clone()).into())
}

/// Reads what the manifest leads to.
pub(super) fn image(
    files: &Arc<Files>,
    document: Document,
    image_name: Result<ImageName, SourceError>,
    wanted: Option<&Platform>,
) -> Result<Found> {
    let name = format!("manifest {}", document.descriptor.digest);
    let manifest = manifest_of(&document.bytes, &name)?;
    let config = files.document(
        &manifest.config.digest,
        manifest.config.size,
        limits::CONFIG_BYTES,
    )?;
    let config_name = format!("configuration {}", manifest.config.digest);
    let configuration = parse_config(&config, &config_name)?;
    super::found::check_platform(&configuration, wanted)?;
    let diff_ids = super::found::diff_ids(&configuration, &config_name)?;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        let why = format!("it has {layers} layers, but its configuration names {ids}");
        refuse::<()>(&name, &why)?;
    }
    let layers = layers(&manifest, &diff_ids);
    Ok(Found {
        files: Arc::clone(files),
        name: image_name,
        config: Document {
            descriptor: manifest.config,
            bytes: config,
        },
        manifest: Some(document),
        configuration,
        layers,
    })
}

/// The layers of a manifest, in a layout.
pub(crate) fn layers(manifest: &Manifest, diff_ids: &[Digest]) -> Vec<FoundLayer> {
    let pairs = manifest.layers.iter().zip(diff_ids);
    pairs
        .map(|(descriptor, diff_id)| FoundLayer {
            diff_id: *diff_id,
            file: blob_file(&descriptor.digest),
            label: format!("layer {}", descriptor.digest),
            blob: Some((descriptor.digest, descriptor.size)),
        })
        .collect()
}

/// The name to store the image under: its own if that is a full one, else made from the name of the
/// directory or file, with its own as the tag.
fn image_name(
    source: &Source,
    named: &Descriptor,
    manifest: &Digest,
) -> Result<ImageName, SourceError> {
    let is_full = |name: &&str| name.contains(['/', ':']);
    let asked = match source.choice()? {
        Choice::Named { name, .. } => name,
        _ => None,
    };
    let digests = [named.digest, *manifest];
    if let Some(full) = asked.filter(is_full) {
        return source.full_name(full, &digests, false);
    }
    if let Some(full) = named.containerd_name() {
        return source.full_name(full, &digests, true);
    }
    match named.ref_name().filter(is_full) {
        Some(full) => source.full_name(full, &digests, false),
        None => source.own_name(asked.or(named.ref_name())),
    }
}

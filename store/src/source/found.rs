//! What is found at a source: verified documents, and where the layers are.

use std::sync::Arc;

use oci_spec::image::ImageConfiguration;

use super::files::Files;
use crate::error::{Result, SourceError};
use crate::oci::{Descriptor, Platform, refuse};
use crate::values::{Digest, DigestError, ImageName};

/// An image that was found: its documents are verified, its layers are not yet.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where its layers are.
    pub(crate) files: Arc<Files>,
    /// The name to store it under if the caller gives none.
    pub(crate) name: Result<ImageName, SourceError>,
    /// The manifest as it is; a `docker save` archive has none.
    pub(crate) manifest: Option<Document>,
    pub(crate) config: Document,
    pub(crate) configuration: ImageConfiguration,
    /// Bottom first.
    pub(crate) layers: Vec<FoundLayer>,
}

/// A verified document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

/// A layer as its image names it.
#[derive(Debug, Clone)]
pub(crate) struct FoundLayer {
    pub(crate) diff_id: Digest,
    /// Where it is among the files of the source.
    pub(crate) file: String,
    /// What it is called in errors.
    pub(crate) label: String,
    /// Digest and size of the blob; only a layer in a `docker save` archive may come without.
    pub(crate) blob: Option<(Digest, u64)>,
}

/// The DiffIDs in a configuration, checked.
pub(crate) fn diff_ids(configuration: &ImageConfiguration, document: &str) -> Result<Vec<Digest>> {
    let ids = configuration.rootfs().diff_ids().iter();
    let ids = ids.map(|id| match id.parse() {
        Ok(id) => Ok(id),
        Err(error) => refuse(document, &DigestError::to_string(&error)),
    });
    Ok(ids.collect::<std::result::Result<_, _>>()?)
}

/// Makes sure that an image is for the platform that was asked for. If none was, one that is not
/// for this machine is none the less what the source names.
pub(super) fn check_platform(
    configuration: &ImageConfiguration,
    wanted: Option<&Platform>,
) -> std::result::Result<(), SourceError> {
    let own = platform_of(configuration);
    if !own.is_known() {
        return Ok(());
    }
    match wanted {
        Some(wanted) if own.suits(wanted).is_none() => Err(SourceError::NoPlatform {
            wanted: wanted.clone(),
            found: vec![own],
        }),
        Some(_) => Ok(()),
        None => {
            let host = Platform::host();
            if own.suits(&host).is_none() {
                log::warn!("the image is for {own}, this machine is {host}");
            }
            Ok(())
        }
    }
}

/// The platform in a configuration.
pub(crate) fn platform_of(configuration: &ImageConfiguration) -> Platform {
    Platform::new(
        &configuration.os().to_string(),
        &configuration.architecture().to_string(),
        configuration.variant().as_deref(),
    )
}

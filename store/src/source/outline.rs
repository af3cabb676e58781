//! What a remote has of an image, as far as its documents tell.

use std::sync::Arc;

use oci_spec::image::ImageConfiguration;

use super::found::platform_of;
use super::remote::find_remote;
use crate::error::Result;
use crate::oci::Platform;
use crate::remote::Remote;
use crate::values::{Digest, ImageName};

/// An image of which only the documents were fetched.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// What it is for.
    pub platform: Platform,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// Its layers, bottom first.
    pub layers: Vec<OutlinedLayer>,
}

/// A layer that was not fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlinedLayer {
    /// Its digest, uncompressed.
    pub diff_id: Digest,
    /// The digest of its blob.
    pub blob: Digest,
    /// The size of the blob, in bytes.
    pub size: u64,
}

impl Outline {
    /// Fetches the documents of an image and verifies them. `name` stands for it in messages.
    ///
    /// # Errors
    /// As [`Store::pull`](crate::Store::pull).
    pub fn fetch(
        remote: &Arc<dyn Remote>,
        name: &ImageName,
        platform: Option<&Platform>,
    ) -> Result<Self> {
        let found = find_remote(remote, name, platform)?;
        let layer = |layer: &super::FoundLayer| {
            let (blob, size) = layer.blob?;
            Some(OutlinedLayer {
                diff_id: layer.diff_id,
                blob,
                size,
            })
        };
        let config = &found.config.descriptor.digest;
        Ok(Self {
            manifest_digest: found
                .manifest
                .as_ref()
                .map_or(*config, |manifest| manifest.descriptor.digest),
            platform: platform_of(&found.configuration),
            layers: found.layers.iter().filter_map(layer).collect(),
            config: found.configuration,
        })
    }
}

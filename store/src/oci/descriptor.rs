//! Descriptors: what a blob is, how long it is, and its digest (OCI image specification,
//! "descriptor.md").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use crate::values::Digest;

/// The annotation that gives a manifest its name in an image layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where containerd and `docker save` put the full name of an image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Says what a blob is. Fields that mean nothing here are kept as they are, so that an index that is
/// written again loses nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, serde_json::Value>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: None,
            platform: None,
            other: BTreeMap::new(),
        }
    }

    /// The name of the image in its layout.
    pub(crate) fn ref_name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    /// Every name the image has in its layout.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [REF_NAME, CONTAINERD_NAME]
            .into_iter()
            .filter_map(|key| self.annotation(key))
    }

    /// The name of the image with its repository, if the layout has one, else its name there.
    pub(crate) fn full_name(&self) -> Option<&str> {
        self.containerd_name().or(self.ref_name())
    }

    /// The full name that containerd and Docker give an image.
    pub(crate) fn containerd_name(&self) -> Option<&str> {
        self.annotation(CONTAINERD_NAME)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(key)?)
    }
}

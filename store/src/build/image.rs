//! An image in the making.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{EncodedLayer, Layer};
use crate::oci::{
    Descriptor, IMAGE_CONFIG, INDEX, Index, MANIFEST, Manifest, REF_NAME, layer_media_type,
};
use crate::store::to_json;
use crate::{Compression, Digest, Platform, Timestamp};

/// The configuration of an image: what to run in it, and for which machine it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// What is run, before `cmd`.
    pub entrypoint: Vec<String>,
    /// What is run, or arguments of `entrypoint`.
    pub cmd: Vec<String>,
    /// Where it is run; empty for `/`.
    pub working_dir: String,
    /// Whom it is run as; empty for root.
    pub user: String,
    /// Places of volumes.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What the image is for; otherwise for this machine.
    pub platform: Platform,
    /// When it was made.
    pub created: Timestamp,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            volumes: Vec::new(),
            labels: BTreeMap::new(),
            platform: Platform::host(),
            created: Timestamp::default(),
        }
    }
}

/// The document that a [`Config`] becomes (OCI image specification, "config.md").
#[derive(Serialize)]
struct ConfigDocument<'a> {
    created: String,
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    config: ExecDocument<'a>,
    rootfs: RootFsDocument,
    history: Vec<HistoryDocument>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExecDocument<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<&'a str, BTreeMap<(), ()>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct RootFsDocument {
    r#type: &'static str,
    diff_ids: Vec<Digest>,
}

#[derive(Serialize)]
struct HistoryDocument {
    created: String,
    created_by: &'static str,
}

/// Puts an image together: layers, bottom first, and a configuration.
#[derive(Debug, Clone, Default)]
pub struct ImageBuilder {
    layers: Vec<Source>,
    config: Config,
}

#[derive(Debug, Clone)]
enum Source {
    Layer(Layer, Compression),
    Encoded(EncodedLayer),
}

impl ImageBuilder {
    /// An image without layers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer on top.
    pub fn layer(mut self, layer: Layer, compression: Compression) -> Self {
        self.layers.push(Source::Layer(layer, compression));
        self
    }

    /// Adds a layer that is encoded already, and may be anything.
    pub fn encoded_layer(mut self, layer: EncodedLayer) -> Self {
        self.layers.push(Source::Encoded(layer));
        self
    }

    /// Sets the configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Makes all documents and blobs.
    pub(super) fn build(&self) -> std::io::Result<Built> {
        let layers = self.layers.iter().map(|source| match source {
            Source::Layer(layer, compression) => EncodedLayer::from_layer(layer, *compression),
            Source::Encoded(layer) => Ok(layer.clone()),
        });
        let layers = layers.collect::<std::io::Result<Vec<_>>>()?;
        let config = self.config.document(&layers);
        let descriptors = layers.iter().map(|layer| {
            let media_type = layer_media_type(layer.compression);
            Descriptor::new(&media_type, layer.digest, layer.blob.len() as u64)
        });
        let manifest = to_json(&Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: descriptor(IMAGE_CONFIG, &config),
            layers: descriptors.collect(),
            other: BTreeMap::new(),
        });
        Ok(Built {
            layers,
            config,
            manifest,
            platform: self.config.platform.clone(),
        })
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

impl Config {
    fn document(&self, layers: &[EncodedLayer]) -> Vec<u8> {
        let created = self.created.to_rfc3339();
        let history = layers.iter().map(|_| HistoryDocument {
            created: created.clone(),
            created_by: "plyfs",
        });
        to_json(&ConfigDocument {
            created: created.clone(),
            architecture: &self.platform.architecture,
            os: &self.platform.os,
            variant: self.platform.variant.as_deref(),
            config: ExecDocument {
                user: &self.user,
                env: &self.env,
                entrypoint: &self.entrypoint,
                cmd: &self.cmd,
                working_dir: &self.working_dir,
                volumes: self
                    .volumes
                    .iter()
                    .map(|place| (&**place, BTreeMap::new()))
                    .collect(),
                labels: &self.labels,
            },
            rootfs: RootFsDocument {
                r#type: "layers",
                diff_ids: layers.iter().map(|layer| layer.diff_id).collect(),
            },
            history: history.collect(),
        })
    }
}

/// An image with all its documents.
pub(super) struct Built {
    pub(super) layers: Vec<EncodedLayer>,
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    platform: Platform,
}

impl Built {
    /// Every blob with its digest.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (Digest, &[u8])> {
        let documents = [&self.config, &self.manifest];
        let documents = documents
            .into_iter()
            .map(|bytes| (Digest::of(bytes), &bytes[..]));
        let layers = self
            .layers
            .iter()
            .map(|layer| (layer.digest, &layer.blob[..]));
        layers.chain(documents)
    }

    /// The descriptor of the manifest, under a name if it has one.
    pub(super) fn descriptor(&self, name: Option<&str>) -> Descriptor {
        let mut descriptor = descriptor(MANIFEST, &self.manifest);
        let named = name.map(|name| (REF_NAME.to_owned(), name.to_owned()));
        descriptor.annotations = named.map(|pair| BTreeMap::from([pair]));
        descriptor.platform = Some(self.platform.clone());
        descriptor
    }

    /// An index of this image alone.
    pub(super) fn index(&self, name: Option<&str>) -> Index {
        Index {
            foreign: Vec::new(),
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: vec![self.descriptor(name)],
            other: BTreeMap::new(),
        }
    }
}

//! What a caller commits, and the steps of it.

use thiserror::Error;

use super::change::ConfigChange;
use super::config;
use super::layer::{self, LayerWriter};
use crate::container::ContainerRecord;
use crate::disk::{Store, to_json};
use crate::error::Result;
use crate::import::{ImportRequest, Imported};
use crate::oci::{Descriptor, MANIFEST, parse_config};
use crate::progress::Progress;
use crate::source::{Document, Files, Form, Found, Source, found_layers};
use crate::values::{Digest, ImageName, Ownership, Timestamp, escaped};

/// What cannot be committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A name that means a removed file in an archive.
    #[error(
        "\"{}\" cannot be in an image: names that begin with .wh. stand for removed files there; \
         rename it",
        escaped(.0)
    )]
    Name(Vec<u8>),
    /// Not a change of a configuration.
    #[error(
        "\"{}\" is no change that can be made: write CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, \
         USER, VOLUME or WORKDIR as in a Dockerfile",
        escaped(.0)
    )]
    Change(String),
    /// The configuration of the base image is no JSON object.
    #[error("the configuration of the image cannot be read")]
    Base,
}

/// What the new image is to say of itself.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Its name.
    pub name: ImageName,
    /// Who made it.
    pub author: Option<String>,
    /// What for.
    pub message: Option<String>,
    /// When.
    pub created: Timestamp,
    /// What is different from the base image when it is run, in this order.
    pub changes: Vec<ConfigChange>,
    /// How owners are kept in the unpacked layer.
    pub ownership: Ownership,
}

impl CommitRequest {
    /// A commit with nothing out of the ordinary.
    pub fn new(name: ImageName, ownership: Ownership) -> Self {
        Self {
            name,
            author: None,
            message: None,
            created: Timestamp::now(),
            changes: Vec::new(),
            ownership,
        }
    }
}

impl Store {
    /// Makes an image of a container's image and a layer on top of it.
    ///
    /// # Errors
    /// [`crate::BlobError::Missing`] if something of the container's image is gone, and those of
    /// [`Store::import`].
    pub fn commit(
        &self,
        container: &ContainerRecord,
        layer: LayerWriter,
        request: &CommitRequest,
        progress: &dyn Progress,
    ) -> Result<Imported> {
        let (staging, layer) = layer.finish()?;
        let _shared = self.share()?;
        let (base, config) = self.base_of(container)?;
        let config = config::configuration(&config, &layer, request)?;
        let manifest = config::manifest(&base, &config, &layer);
        let configuration = parse_config(&config, "the configuration of the new image")?;
        let mut diff_ids = container.diff_ids.clone();
        diff_ids.push(layer.diff_id);
        let mut layers = found_layers(&manifest, &diff_ids);
        if let Some(own) = layers.last_mut() {
            own.file = layer::BLOB.to_owned();
        }
        let bytes = to_json(&manifest);
        let found = Found {
            files: Files::Directory(staging.path().to_owned()).into(),
            name: Ok(request.name.clone()),
            config: Document {
                descriptor: manifest.config,
                bytes: config,
            },
            manifest: Some(Document {
                descriptor: Descriptor::new(MANIFEST, Digest::of(&bytes), bytes.len() as u64),
                bytes,
            }),
            configuration,
            layers,
        };
        let source = Source {
            form: Form::Oci,
            path: staging.path().to_owned(),
            tag: None,
        };
        let import = ImportRequest::new(source, request.ownership);
        self.import_found(&staging, &import, &found, request.name.clone(), progress)
    }
}

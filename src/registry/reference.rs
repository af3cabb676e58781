//! What a reference on the command line means.

use std::sync::Arc;

use plyfs_registry::{Client, Name};
use plyfs_store::{Digest, ImageName, NameError, RegistryReference, Remote, escaped};

use super::image::RegistryImage;
use crate::error::{CliError, Result};

/// What may stand before a reference, as for skopeo and Podman.
pub(crate) const TRANSPORT: &str = "docker://";

/// The registry of names without one, where no settings say another.
const DEFAULT: &str = "docker.io";

/// An image in a registry, as the command line names it.
#[derive(Debug, Clone)]
pub(crate) struct RegistryName {
    reference: RegistryReference,
    /// As it was given, without the transport.
    text: String,
}

impl RegistryName {
    /// Reads `[docker://]REF`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix(TRANSPORT).unwrap_or(text);
        let reference = text.parse().map_err(|error: NameError| match error {
            NameError::Image(_) if text.contains("://") => CliError::new(format_args!(
                "\"{}\" is in no registry: only {TRANSPORT} is; \"plyfs import\" reads directories and files",
                escaped(text)
            )),
            error => CliError::new(error),
        })?;
        Ok(Self {
            reference,
            text: text.to_owned(),
        })
    }

    /// As it was given, without the transport.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The tag or digest to ask for.
    pub(crate) fn target(&self) -> String {
        match (&self.reference.digest, &self.reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The digest in the reference.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.reference.digest
    }

    /// The repositories that are meant, in the order to try them: one, unless the name is short.
    pub(crate) fn repositories(&self, client: &Client) -> Result<Vec<Name>> {
        let path = &self.reference.path;
        if let Some(domain) = &self.reference.domain {
            return Ok(vec![Name::new(domain, path).map_err(CliError::new)?]);
        }
        let found = client
            .registries()
            .short_name(path)
            .map_err(CliError::new)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let path = match path.contains('/') {
            true => path.clone(),
            false => format!("library/{path}"),
        };
        Ok(vec![Name::new(DEFAULT, &path).map_err(CliError::new)?])
    }

    /// Asks the repositories that are meant, one after the other, until one has the image.
    ///
    /// # Errors
    /// If settings forbid a repository, or `ask` fails. Within: what is wrong with the image, or why the last
    /// repository could not give it.
    pub(crate) fn first_that<T>(
        &self,
        client: &Client,
        mut ask: impl FnMut(Arc<dyn Remote>, &Name) -> Result<plyfs_store::Result<T>>,
    ) -> Result<plyfs_store::Result<T>> {
        let mut failed = None;
        for repository in self.repositories(client)? {
            let image = RegistryImage::new(client, repository.clone(), self.target());
            let image = Arc::new(image.map_err(CliError::new)?);
            match ask(image, &repository)? {
                Err(error @ plyfs_store::Error::Remote(_)) => {
                    if let Some(before) = failed.replace(error) {
                        log::info!("{before}");
                    }
                }
                asked => return Ok(asked),
            }
        }
        failed.map_or_else(|| Err(unknown_registry()), |error| Ok(Err(error)))
    }

    /// What the image is called in the store, when it comes from this repository. One that is named by its digest
    /// alone gets the first digits of that as its tag.
    pub(crate) fn image_name(&self, repository: &Name) -> Result<ImageName> {
        let tag = match (&self.reference.tag, &self.reference.digest) {
            (Some(tag), _) => tag.clone(),
            (None, Some(digest)) => {
                format!(
                    "sha256-{}",
                    digest.hex().chars().take(12).collect::<String>()
                )
            }
            (None, None) => "latest".to_owned(),
        };
        format!("{repository}:{tag}").parse().map_err(CliError::new)
    }
}

/// No settings say where to look for a name.
pub(crate) fn unknown_registry() -> CliError {
    CliError::new("no registry is known for this name")
}

//! Looking at an image in a registry: nothing but its documents is fetched.

use std::sync::Arc;

use plyfs_store::Outline;

use crate::error::{CliError, Result};
use crate::registry::{RegistryArgs, RegistryName};

/// Fetches what a registry tells of an image, and how that is called there.
pub(crate) fn outline(reference: &str, registry: &RegistryArgs) -> Result<(String, Outline)> {
    let name = RegistryName::parse(reference)?;
    let client = registry.connect(Arc::default())?;
    let outlined = name.first_that(&client, |remote, repository| {
        let outline = Outline::fetch(&remote, &name.image_name(repository)?, None);
        Ok(outline.map(|outline| (remote.name(), outline)))
    })?;
    outlined.map_err(CliError::new)
}

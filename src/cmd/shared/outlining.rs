//! Looking at an image in a registry: nothing but its documents is fetched.

use std::sync::Arc;

use plyfs_store::{Outline, Remote};

use crate::error::{CliError, Result};
use crate::registry::{Connection, RegistryArgs, RegistryImage, RegistryName};

/// Fetches what a registry tells of an image, and how that is called there.
pub(crate) fn outline(reference: &str, registry: &RegistryArgs) -> Result<(String, Outline)> {
    let name = RegistryName::parse(reference)?;
    let Connection { client } = registry.connect(Arc::default())?;
    let mut failed = None;
    for repository in name.repositories(&client)? {
        let image = RegistryImage::new(&client, repository.clone(), name.target());
        let remote: Arc<dyn Remote> = Arc::new(image.map_err(CliError::new)?);
        match Outline::fetch(&remote, &name.image_name(&repository)?, None) {
            Ok(outline) => return Ok((remote.name(), outline)),
            Err(error @ plyfs_store::Error::Remote(_)) => failed = Some(error),
            Err(error) => return Err(CliError::new(error)),
        }
    }
    Err(match failed {
        Some(error) => CliError::new(error),
        None => CliError::new("no registry is known for this name"),
    })
}

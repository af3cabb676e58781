//! Pulling an image, for `plyfs pull` and for commands that need an image which is not in the store.

use std::sync::Arc;

use plyfs_store::{ImageName, Imported, Limits, Ownership, Platform, PullRequest, Store};

use super::watch::{INTERRUPTED, Watch};
use crate::error::{CliError, Result};
use crate::registry::{Connection, RegistryArgs, RegistryImage, RegistryName};

/// What to pull, and how.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a RegistryName,
    /// What it is to be called in the store, if not what follows from its reference.
    pub(crate) called: Option<ImageName>,
    pub(crate) platform: Option<Platform>,
    pub(crate) ownership: Ownership,
}

/// Pulls an image. A short name is looked for in one registry after the other.
pub(crate) fn pull(
    store: &Store,
    wanted: &Wanted<'_>,
    registry: &RegistryArgs,
    watch: &Watch,
) -> Result<Imported> {
    let Connection { client } = registry.connect(watch.asked())?;
    let mut failed = None;
    for repository in wanted.name.repositories(&client)? {
        let target = wanted.name.target();
        let image = RegistryImage::new(&client, repository.clone(), target);
        let request = PullRequest {
            remote: Arc::new(image.map_err(CliError::new)?),
            name: match &wanted.called {
                Some(name) => name.clone(),
                None => wanted.name.image_name(&repository)?,
            },
            platform: wanted.platform.clone(),
            ownership: wanted.ownership,
            limits: Limits::default(),
        };
        match store.pull(&request, watch) {
            Ok(imported) => {
                watch.finish();
                return Ok(imported);
            }
            Err(plyfs_store::Error::Interrupted) => {
                return Err(
                    CliError::new("interrupted; the next pull goes on from here")
                        .with_status(INTERRUPTED),
                );
            }
            Err(error @ plyfs_store::Error::Remote(_)) => {
                if let Some(before) = failed.replace(error) {
                    log::info!("{before}");
                }
            }
            Err(error) => return Err(refused(&error, wanted.name)),
        }
    }
    Err(match failed {
        Some(error) => CliError::new(error),
        None => CliError::new("no registry is known for this name"),
    })
}

/// Why an image was not taken. What is wrong with its content is not the store's damage.
fn refused(error: &plyfs_store::Error, name: &RegistryName) -> CliError {
    let is_of_image = error.errno().is_none()
        && matches!(
            error,
            plyfs_store::Error::Blob(_)
                | plyfs_store::Error::Layer(_)
                | plyfs_store::Error::Document(_)
        );
    match is_of_image {
        true => CliError::new(format_args!(
            "{error}; {} is refused, and nothing of it was kept",
            plyfs_store::escaped(name.text())
        )),
        false => CliError::new(error),
    }
}

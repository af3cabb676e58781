//! Pulling an image, for `plyfs pull` and for commands that need an image which is not in the store.

use plyfs_store::{ImageName, Imported, Limits, Ownership, Platform, PullRequest, Store};

use super::watch::{INTERRUPTED, Watch};
use crate::error::{CliError, Result};
use crate::registry::{RegistryArgs, RegistryName};

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
    let client = registry.connect(watch.asked())?;
    let pulled = wanted.name.first_that(&client, |remote, repository| {
        let request = PullRequest {
            remote,
            name: match &wanted.called {
                Some(name) => name.clone(),
                None => wanted.name.image_name(repository)?,
            },
            platform: wanted.platform.clone(),
            ownership: wanted.ownership,
            limits: Limits::default(),
        };
        Ok(store.pull(&request, watch))
    })?;
    match pulled {
        Ok(imported) => {
            watch.finish();
            Ok(imported)
        }
        Err(plyfs_store::Error::Interrupted) => Err(CliError::new(
            "interrupted; the next pull goes on from here",
        )
        .with_status(INTERRUPTED)),
        Err(error) => Err(refused(&error, wanted.name)),
    }
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

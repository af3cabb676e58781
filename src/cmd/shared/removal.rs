//! What `rm`, `rmi` and `prune` share: opening the store, and removing what nothing needs any more.

use std::path::{Path, PathBuf};

use plyfs_store::{Collected, Store, Unneeded};

use crate::error::{CliError, Result};
use crate::{output, storage};

pub(crate) fn open(store: Option<&Path>) -> Result<Store> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    Ok(Store::open_existing(location)?)
}

/// As [`open`], for `--force`: what is not there needs no removal. A store that the caller names and that does not
/// exist is one line on standard error, and no failure.
pub(crate) fn open_forced(store: Option<&Path>) -> Result<Option<Store>> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    find_forced(location)
}

/// The store at a location; without one, says that there is nothing to remove.
pub(crate) fn find_forced(location: PathBuf) -> Result<Option<Store>> {
    match Store::open_existing(location) {
        Err(plyfs_store::Error::NoStore { path }) => {
            output::complain(&format_args!(
                "nothing to remove: there is no store at {}",
                path.display()
            ));
            Ok(None)
        }
        opened => Ok(Some(opened?)),
    }
}

/// As [`open`], where there is nothing to remove before something was imported.
pub(crate) fn open_if_there(store: Option<&Path>) -> Result<Option<Store>> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    storage::open_if_there(store, location)
}

/// Removes each name, even if another one fails, and then the blobs and layers that nothing needs any more.
pub(crate) fn each(
    store: &Store,
    names: &[String],
    mut remove: impl FnMut(&str) -> Result<Unneeded>,
) -> Result {
    let mut unneeded = Unneeded::default();
    let mut failed: Option<CliError> = None;
    for name in names {
        match remove(name) {
            Ok(more) => unneeded.add(more),
            Err(failure) => {
                if let Some(before) = failed.replace(failure) {
                    output::complain(&before);
                }
            }
        }
    }
    let collected = match (store.collect(&unneeded), failed.take()) {
        // Both failed, most likely for the same reason: report one.
        (Err(error), Some(failure)) => {
            log::info!("cannot remove unused blobs and layers: {error}");
            return Err(failure);
        }
        (Err(error), None) => {
            let failure = CliError::from(error);
            return Err(CliError::new(format_args!(
                "what nothing needs any more was not removed: {failure}"
            )));
        }
        (Ok(collected), failure) => {
            failed = failure;
            collected
        }
    };
    match collected {
        Some(collected) => {
            warn_of_damage(&collected);
            log::info!(
                "removed {} blobs and {} layers, {}",
                collected.blobs,
                collected.layers,
                output::size(collected.bytes)
            );
        }
        None => log::warn!(
            "something is being added to the store; what is not needed goes with the next rm, rmi or prune"
        ),
    }
    failed.map_or(Ok(()), Err)
}

/// Damaged documents keep what they may need.
pub(crate) fn warn_of_damage(collected: &Collected) {
    if collected.damaged > 0 {
        log::warn!(
            "{} documents are damaged, so some of what is not needed was kept; repair them with \
             \"plyfs fsck --repair\"",
            collected.damaged
        );
    }
}

//! `plyfs rm` and `plyfs rmi`.

use std::path::Path;

use plyfs_store::{ContainerName, RemoveError, Store, Unneeded};

use crate::cli::{RmArgs, RmiArgs};
use crate::failure::{Failure, Outcome};
use crate::{output, stack, storage};

/// Removes containers, and prints their names.
pub(crate) fn rm(args: &RmArgs, store: Option<&Path>) -> Outcome {
    let store = open(store)?;
    each(&store, &args.containers, |name| {
        let name: ContainerName = name.parse().map_err(Failure::new)?;
        if let Ok(container) = store.container(&name) {
            stack::refuse_mounted(&container)?;
        }
        let unneeded = store.remove_container(&name);
        let unneeded = unneeded.map_err(|error| stack::container_failure(&store, error))?;
        output::write(&format!("{name}\n"))?;
        Ok(unneeded)
    })
}

/// Removes images, and prints their names.
pub(crate) fn rmi(args: &RmiArgs, store: Option<&Path>) -> Outcome {
    let store = open(store)?;
    each(&store, &args.images, |name| {
        let removed = store.remove_image(name, args.force);
        let (name, unneeded) = removed.map_err(|error| match error {
            plyfs_store::Error::Remove(error @ RemoveError::Used { .. }) => Failure::new(
                format_args!("{error}; remove that first, or with --force the name alone"),
            ),
            error => error.into(),
        })?;
        output::write(&format!("{name}\n"))?;
        Ok(unneeded)
    })
}

fn open(store: Option<&Path>) -> Outcome<Store> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    Ok(Store::open_existing(location)?)
}

/// Removes one after another, whatever becomes of the others, and then what nobody needs any more.
fn each(
    store: &Store,
    names: &[String],
    mut remove: impl FnMut(&str) -> Outcome<Unneeded>,
) -> Outcome {
    let mut unneeded = Unneeded::default();
    let mut failed: Option<Failure> = None;
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
    let collected = store.collect(&unneeded).map_err(|error| {
        Failure::new(format_args!(
            "what nothing needs any more was not removed: {error}"
        ))
    })?;
    match collected {
        Some(collected) => log::info!(
            "removed {} blobs and {} layers, {}",
            collected.blobs,
            collected.layers,
            output::size(collected.bytes)
        ),
        None => log::warn!(
            "something is being added to the store; what is not needed goes with the next rm or rmi"
        ),
    }
    failed.map_or(Ok(()), Err)
}

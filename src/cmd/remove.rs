//! `plyfs rm`, `plyfs rmi` and `plyfs prune`.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use plyfs_store::{
    Collected, ContainerError, ContainerName, Digest, LiveKind, LiveRecord, RemoveError, Store,
    Unneeded,
};
use rustix::process::Signal;
use serde_json::json;

use crate::cli::{PruneArgs, RmArgs, RmiArgs};
use crate::containers::live;
use crate::error::{CliError, Result};
use crate::{output, stack, storage};

/// Removes containers, and prints their names.
pub(crate) fn rm(args: &RmArgs, store: Option<&Path>) -> Result {
    let mut containers = args.containers.clone();
    let mut ended = HashMap::new();
    if args.all || args.force {
        let Some(store) = storage::open_if_there(store, storage::location(store)?)? else {
            // Nothing was imported yet.
            return Ok(());
        };
        if args.all {
            containers = all_containers(&store)?;
        }
        if args.force {
            ended = end_uses(&containers, &store);
        }
    }
    let store = open(store)?;
    each(&store, &containers, |name| {
        let unneeded = match ended.remove(name) {
            Some(Err(failure)) => return Err(failure),
            Some(Ok(Ended::WithContainer)) => Unneeded::default(),
            // As in Podman, what is not there is gone.
            _ if args.force && is_unknown(&store, name) => return Ok(Unneeded::default()),
            _ => remove(&store, name)?,
        };
        output::write(&format!("{name}\n"))?;
        Ok(unneeded)
    })
}

/// The names of all containers.
fn all_containers(store: &Store) -> Result<Vec<String>> {
    let names = store.container_names()?;
    Ok(names.iter().map(ContainerName::to_string).collect())
}

/// Whether nothing is called so: no container, and nothing that is live.
fn is_unknown(store: &Store, name: &str) -> bool {
    let Ok(container) = name.parse() else {
        return false;
    };
    let container = store.is_in_use(&container);
    let unknown = matches!(
        container,
        Err(plyfs_store::Error::Container(ContainerError::Unknown(_)))
    );
    unknown && matches!(store.live_of(name), Ok(None))
}

fn remove(store: &Store, name: &str) -> Result<Unneeded> {
    let name: ContainerName = name.parse().map_err(CliError::new)?;
    let in_use = || live::in_use(store, &name, ", or remove it with rm --force");
    let is_known = match store.is_in_use(&name) {
        Ok(true) => return Err(in_use()),
        known => known.is_ok(),
    };
    if !is_known && let Some(record) = store.live_of(name.as_str())? {
        return Err(match record.what.temporary {
            true => in_use(),
            false => no_container(&record),
        });
    }
    if let Ok(container) = store.container(&name) {
        stack::refuse_mounted(&container)?;
    }
    let removed = store.remove_container(&name);
    removed.map_err(|error| stack::container_failure(store, error))
}

/// The id of something that is no container.
fn no_container(record: &LiveRecord) -> CliError {
    CliError::new(format_args!(
        "{}; end that with \"{}\"",
        live::not_kept(record),
        live::remedy(record)
    ))
}

/// What became of a container when its use was ended.
enum Ended {
    /// It can be removed.
    Use,
    /// It went with its process.
    WithContainer,
}

/// Ends what uses containers. That is done before a namespace is entered, from which containers of others could
/// not be.
fn end_uses(names: &[String], store: &Store) -> HashMap<String, Result<Ended>> {
    let end = |name: &String| {
        let ended = match live::find(store, name) {
            Ok(Some(record)) => end_use(store, &record),
            Ok(None) => return None,
            Err(failure) => Err(failure),
        };
        Some((name.clone(), ended))
    };
    names.iter().filter_map(end).collect()
}

fn end_use(store: &Store, record: &LiveRecord) -> Result<Ended> {
    /// How long the daemon of a container may take to end after the process that attended to it was killed.
    const PATIENCE: Duration = Duration::from_secs(10);
    let Some(name) = &record.what.container else {
        return Err(no_container(record));
    };
    let ask = match record.what.kind {
        LiveKind::Mount => Signal::TERM,
        LiveKind::Run => crate::cmd::stop::stop_signal(record),
    };
    live::end(record, ask, live::PATIENCE)?;
    if record.what.temporary {
        return Ok(Ended::WithContainer);
    }
    let start = Instant::now();
    while store.is_in_use(name).unwrap_or(false) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Ended::Use)
}

/// Removes images, and prints their names.
pub(crate) fn rmi(args: &RmiArgs, store: Option<&Path>) -> Result {
    let store = match args.force {
        true => open_if_there(store)?,
        false => Some(open(store)?),
    };
    let Some(store) = store else { return Ok(()) };
    each(&store, &args.images, |name| {
        let removed = match store.remove_image(name, args.force) {
            // As in Podman, what is not there is gone.
            Err(error) if args.force && stack::is_unknown_image(&error) => {
                return Ok(Unneeded::default());
            }
            removed => removed,
        };
        let (names, unneeded) = removed.map_err(|error| match error {
            plyfs_store::Error::Remove(error @ RemoveError::Used { .. }) => CliError::new(
                format_args!("{error}; remove that first, or with --force the name alone"),
            ),
            plyfs_store::Error::Remove(error @ RemoveError::SeveralNames { .. }) => CliError::new(
                format_args!("{error}; name one of them, or remove all of them with --force"),
            ),
            error => error.into(),
        })?;
        for name in names {
            output::write(&format!("{name}\n"))?;
        }
        Ok(unneeded)
    })
}

/// Removes what nothing needs, and prints how much that was.
pub(crate) fn prune(args: &PruneArgs, store: Option<&Path>) -> Result {
    let collected = match open_if_there(store)? {
        None => Collected::default(),
        Some(store) => store.collect(&Unneeded::default())?.ok_or_else(|| {
            CliError::new("cannot prune: something is being added to the store; try again later")
        })?,
    };
    warn_of_damage(&collected);
    if args.json {
        return output::json(&json!({
            "blobs": collected.blobs,
            "layers": collected.layers,
            "size": collected.bytes,
        }));
    }
    output::write(&format!(
        "removed {} blobs and {} layers, {}\n",
        collected.blobs,
        collected.layers,
        output::size(collected.bytes)
    ))
}

/// Damaged documents keep what they may need.
fn warn_of_damage(collected: &Collected) {
    if collected.damaged > 0 {
        log::warn!(
            "{} documents are damaged, so some of what is not needed was kept; repair them with \
             \"plyfs fsck --repair\"",
            collected.damaged
        );
    }
}

/// Removes what is left of an image that lost its names while it was in use, now that its last use has ended. A
/// failure here is logged only, and does not fail that use: `plyfs prune` does the same later.
pub(crate) fn collect_unnamed(store: &Store, manifest: &Digest) {
    match store.collect_unnamed(manifest) {
        Ok(Some(collected)) => log::debug!("removed {} layers", collected.layers),
        Ok(None) => {}
        Err(error) => {
            log::debug!("cannot remove the unnamed image; \"plyfs prune\" tries again: {error}")
        }
    }
}

fn open(store: Option<&Path>) -> Result<Store> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    Ok(Store::open_existing(location)?)
}

/// As [`open`], where there is nothing to remove before something was imported.
fn open_if_there(store: Option<&Path>) -> Result<Option<Store>> {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    storage::open_if_there(store, location)
}

/// Removes each name, even if another one fails, and then the blobs and layers that nothing needs any more.
fn each(
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
            log::info!("what nothing needs any more was not removed: {error}");
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

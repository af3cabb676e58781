//! `plyfs rm`.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use plyfs_store::{ContainerError, ContainerName, LiveKind, LiveRecord, Store, Unneeded};
use rustix::process::Signal;

use super::shared::removal::{each, find_forced, open};
use crate::containers::{live, signal};
use crate::error::{CliError, Result};
use crate::{image_mount, output, storage};

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// End the processes that use the containers, and kill those that do not end within ten seconds. A container that
    /// does not exist is no failure
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All containers
    #[arg(short, long, conflicts_with = "containers")]
    pub(crate) all: bool,
    /// The containers
    #[arg(required_unless_present = "all", value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// Removes containers, and prints their names.
pub(crate) fn rm(args: &RmArgs, store: Option<&Path>) -> Result {
    let mut containers = args.containers.clone();
    let mut ended = HashMap::new();
    if args.all || args.force {
        let location = storage::location(store)?;
        let found = if args.force {
            find_forced(location)?
        } else {
            // Nothing was imported yet.
            storage::open_if_there(store, location)?
        };
        let Some(store) = found else { return Ok(()) };
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
            // As in Podman, a container that does not exist counts as removed.
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

/// Whether neither a container nor a live record has this name.
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
        image_mount::refuse_mounted(&container)?;
    }
    let removed = store.remove_container(&name);
    removed.map_err(|error| image_mount::container_failure(store, error))
}

/// The error for the id of a mount that has no container.
fn no_container(record: &LiveRecord) -> CliError {
    CliError::new(format_args!(
        "{}; end that with \"{}\"",
        live::not_kept(record),
        live::remedy(record)
    ))
}

/// The state of a container after its processes were ended.
enum Ended {
    /// It can be removed.
    Use,
    /// It was temporary, and its process removed it.
    WithContainer,
}

/// Ends the processes that use containers. Call it before entering a namespace, from which processes outside could not
/// be signalled.
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
        LiveKind::Run => signal::stop_signal(record),
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

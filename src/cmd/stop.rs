//! `plyfs stop`.
//!
//! What it prints and its exit status are as in Podman.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use plyfs_store::LiveKind;

use super::shared::one_by_one::{each, is_idle};
use super::shared::unmounting::unmount_live;
use crate::containers::{live, signal};
use crate::error::Result;

/// Stop containers: ask their programs to end, and kill those that do not
///
/// A container that is only mounted is unmounted. The names of the containers are printed.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// How long to wait before a container is killed
    #[arg(
        short = 't',
        long = "time",
        visible_alias = "timeout",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    time: u64,
    /// The containers, by name or, if they have none, by what ps shows
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Stops containers, and prints their names.
pub(crate) fn stop(args: &StopArgs, store: Option<&Path>) -> Result {
    let patience = Duration::from_secs(args.time);
    each(&args.containers, store, |store, name| {
        let Some(record) = live::find(store, name)? else {
            return is_idle(store, name);
        };
        match record.what.kind {
            LiveKind::Mount => unmount_live(&record, false),
            LiveKind::Run => live::end(&record, signal::stop_signal(&record), patience),
        }
    })
}

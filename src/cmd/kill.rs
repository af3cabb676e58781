//! `plyfs kill`.
//!
//! What it prints and its exit status are as in Podman.

use std::path::Path;

use clap::Args;
use plyfs_store::{LiveKind, LiveRecord};
use rustix::process::Signal;

use super::shared::one_by_one::{each, is_idle};
use crate::containers::live;
use crate::containers::signal::SignalArg;
use crate::error::{CliError, Result};

/// Send a signal to the programs of running containers
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: SignalArg,
    /// The containers, by name or, if they have none, by what ps shows
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Sends a signal to containers, and prints their names.
pub(crate) fn kill(args: &KillArgs, store: Option<&Path>) -> Result {
    each(&args.containers, store, |store, name| {
        let not_running = |why: &str| {
            Err(CliError::new(format_args!(
                "the container \"{name}\" {why}; only running containers can be killed"
            )))
        };
        match live::find(store, name)? {
            Some(record) if record.what.kind == LiveKind::Run => send(&record, args.signal.0),
            Some(record) => not_running(&format!("is {}", live::describe(&record))),
            None => is_idle(store, name).and_then(|()| not_running("does not run")),
        }
    })
}

fn send(record: &LiveRecord, signal: Signal) -> Result {
    if live::is_passed_on(signal) {
        return live::signal(record, signal).map(drop);
    }
    if live::signal_init(record, signal)? {
        return Ok(());
    }
    match signal {
        // The first process ends with the one that attends to it.
        Signal::KILL => live::signal(record, signal).map(drop),
        _ => Err(CliError::new(format_args!(
            "the first process of \"{}\" cannot be signalled from this user namespace; send one of \
             the signals that \"plyfs run\" passes on: HUP, INT, QUIT, TERM, USR1, USR2, WINCH, CONT",
            record.id
        ))),
    }
}

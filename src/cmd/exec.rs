//! `plyfs exec`.

use std::path::{Path, PathBuf};

use clap::Args;
use oci_spec::runtime::{Process, Spec};
use plyfs_store::{LiveKind, LiveRecord, ProcessId, Store};
use rustix::io::Errno;

use crate::containers::live;
use crate::error::{CliError, Context, Result};
use crate::guest::{attend, host};
use crate::runtime::launch;
use crate::runtime::namespaces::{self, Namespace};
use crate::{image_mount, pidfd, storage};

/// Run another command in a container that runs
///
/// It has what the container's own command has: namespaces, user, environment, capabilities and the filter
/// of system calls. Exit statuses are those of plyfs run.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Give standard input to the command, which is so in any case
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal for the command [default: if standard input and output are terminals]
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tty: Option<bool>,
    /// Set an environment variable; without a value, pass it on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, a line each
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The directory to run in, instead of the container's
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// The user to run as, instead of the container's
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The container, by name or, if it has none, by what ps shows
    container: String,
    /// The command, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) fn exec(args: &ExecArgs, store: Option<&Path>) -> Result {
    attend::end_as(start(args, store))
}

fn start(args: &ExecArgs, store: Option<&Path>) -> Result<u8> {
    let _input = attend::shut_off_caller(args.tty)?;
    let store = storage::open_existing(store)?;
    let record = running(&store, &args.container)?;
    let spec = configuration(&record)?;
    let not_there = || {
        CliError::new(format_args!(
            "the container \"{}\" has ended, or is only about to start",
            record.id
        ))
    };
    let container = record.open_init().ok_or_else(not_there)?;
    let init = record.init.as_ref().ok_or_else(not_there)?;
    let namespaces = namespaces_of(&record, init)?;
    // The number may have become another's meanwhile.
    if pidfd::has_ended(&container) {
        return Err(not_there());
    }
    let process = process(args, &spec)?;
    let user = args.user.clone();
    let signals = attend::hold_signals()?;
    let started = launch::join(spec, process, user, namespaces)?;
    attend::with_terminal(started, &signals)
}

/// The record of a running container.
fn running(store: &Store, name: &str) -> Result<LiveRecord> {
    match live::find(store, name)? {
        Some(record) if record.what.kind == LiveKind::Run => Ok(record),
        Some(record) => Err(CliError::new(format_args!(
            "nothing runs in the container \"{}\": it is {}",
            record.id,
            live::describe(&record)
        ))),
        None => {
            let container =
                image_mount::find_container(store, &name.parse().map_err(CliError::new)?)?;
            let container = container.ok_or_else(|| not_running(store, name))?;
            Err(CliError::new(format_args!(
                "nothing runs in the container \"{0}\"; start it with plyfs run --container {0}",
                container.record.name
            )))
        }
    }
}

/// Why nothing is executed in a container that is not there, with those that run.
fn not_running(store: &Store, name: &str) -> CliError {
    let live = store.live().unwrap_or_default();
    let running = live.iter().filter(|one| one.what.kind == LiveKind::Run);
    let running: Vec<String> = running.map(|one| one.id.to_string()).collect();
    let name = plyfs_store::escaped(name);
    match image_mount::listed(&running) {
        None => CliError::new(format_args!(
            "there is no container \"{name}\", and none runs; start one with plyfs run"
        )),
        Some(running) => CliError::new(format_args!(
            "there is no container \"{name}\"; those that run are {running}"
        )),
    }
}

fn configuration(record: &LiveRecord) -> Result<Spec> {
    let value = record.what.configuration.clone().ok_or_else(|| {
        CliError::new(format_args!(
            "the container \"{}\" is only about to start, or was started by an older plyfs",
            record.id
        ))
    })?;
    serde_json::from_value(value).context("understand the configuration of the container")
}

/// The namespaces of a container that this process is not in, opened. Entering one's own may not be allowed, and
/// changes nothing.
///
/// # Errors
/// If its first process has left those it was started in: what it made for itself has none of what the
/// container was given, such as a filter or a missing power over groups.
fn namespaces_of(record: &LiveRecord, init: &ProcessId) -> Result<Vec<Namespace>> {
    let theirs = match namespaces::open(&init.pid.to_string()) {
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(CliError::new(
                "the container is in a user namespace that cannot be entered from here; call plyfs exec \
                 outside of \"plyfs unshare\", as the user who started the container",
            ));
        }
        theirs => theirs.context(format_args!(
            "look at the namespaces of process {}",
            init.pid
        ))?,
    };
    let names = theirs.iter().map(|(_, name)| name);
    if !names.eq(&record.what.namespaces) {
        return Err(CliError::new(format_args!(
            "the first process of the container \"{}\" has left the namespaces it was started in, where \
             plyfs exec does not follow it; stop the container with \"{}\"",
            record.id,
            live::remedy(record)
        )));
    }
    let own = namespaces::of("self").context("look at namespaces")?;
    let pairs = theirs.into_iter().zip(own);
    let foreign = pairs.filter(|((_, name), own)| name != own);
    Ok(foreign.map(|((namespace, _), _)| namespace).collect())
}

/// The container's own process, with what the arguments change.
fn process(args: &ExecArgs, spec: &Spec) -> Result<Process> {
    let process = spec.process().clone();
    let mut process = process.ok_or_else(|| CliError::new("the container has no process"))?;
    process.set_args(Some(args.command.clone()));
    let terminal = args.tty.unwrap_or_else(attend::has_terminal);
    process.set_terminal(Some(terminal));
    if let Some(directory) = &args.workdir {
        process.set_cwd(Path::new("/").join(directory));
    }
    let mut added = host::environment(&args.env_file, &args.env)?;
    if terminal {
        added.insert(0, host::term());
    }
    let mut environment = process.env().clone().unwrap_or_default();
    for pair in added {
        let name = pair.split('=').next().map(str::to_owned);
        environment.retain(|other| other.split('=').next() != name.as_deref());
        environment.push(pair);
    }
    process.set_env(Some(environment));
    Ok(process)
}

//! `plyfs run`.
//!
//! Three processes work together. This one becomes root of a user namespace (unless it is root),
//! with a mount namespace of its own, starts the *daemon* that serves the image there, and has a runtime
//! start the *container* on it ([`crate::runtime`], or another program). It then passes signals and the
//! terminal on, waits, unmounts, and ends with the program's exit status.

mod args;
mod subject;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use plyfs_store::{LiveEntry, ProcessId, Scratch, Store};
use plyfs_sys::process::SignalQueue;
use rustix::process::{Pid, WaitOptions, waitpid};

pub(crate) use args::RunArgs;
use args::Userns;

use crate::containers::{live, places};
use crate::error::{CliError, Context, Result};
use crate::guest::{attend, files, host};
use crate::mount::backend_choice::BackendChoice;
use crate::mount::options::Options;
use crate::mount::{fuse_mount, server};
use crate::oci::user::Identity;
use crate::oci::{self, Command};
use crate::runtime::root::Root;
use crate::runtime::{accounts, external, launch, namespaces};
use crate::{image_mount, namespace, output, storage};
use subject::Chosen;

/// Runs a command in a container.
pub(crate) fn run(args: &RunArgs, store: Option<&Path>) -> Result {
    attend::end_as(start(args, store))
}

fn start(args: &RunArgs, store: Option<&Path>) -> Result<u8> {
    let _input = attend::shut_off_caller(args.tty)?;
    // Before the namespace, in which the user would seem to be another.
    let location = storage::location(store)?;
    let caller = Caller {
        backend: BackendChoice::or_environment(args.backend)?,
        environment: host::environment(
            &args.container_options.env_file,
            &args.container_options.env,
        )?,
        directory: std::env::current_dir().context("find the working directory")?,
        runtime: args.runtime.as_deref().map(external::find).transpose()?,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    match (args.userns, namespace::can_mount()) {
        (Userns::KeepId, false) if !namespace::has_subordinate_ids() => {
            return Err(CliError::new(
                "--userns=keep-id needs subordinate ids, for root and others in the image (subuid(5), subgid(5), \
                 package uidmap)",
            ));
        }
        (Userns::KeepId, false) => namespace::enter_keeping_id()?,
        (Userns::KeepId, true) => {
            return Err(CliError::new(
                "--userns=keep-id is for ordinary users outside of a namespace; leave it away",
            ));
        }
        (Userns::Host, true) => namespace::enter_mounts_only()?,
        (Userns::Host, false) => namespace::enter()?,
    }
    let store = args.needed.store(location)?;
    let chosen = subject::choose(&store, args)?;
    let run = Run {
        args,
        caller: &caller,
        store: &store,
        command: chosen.command(&args.container_options)?,
        hostname: chosen.hostname(&args.container_options),
        chosen: &chosen,
    };
    let status = run.mounted().map_err(|failure| chosen.explain(failure));
    if args.keep
        && let Some(name) = chosen.container_name()
    {
        output::complain(&format_args!("the container was kept as {name}"));
    }
    let manifest = chosen.image.manifest_digest;
    drop(run);
    drop(chosen);
    storage::collect_unnamed(&store, &manifest);
    status
}

/// What this process knows of its caller from before it entered a namespace.
struct Caller {
    backend: Option<BackendChoice>,
    environment: Vec<String>,
    directory: PathBuf,
    /// Another runtime.
    runtime: Option<external::Runtime>,
    uid: u32,
    gid: u32,
}

/// A container that is about to run.
struct Run<'a> {
    args: &'a RunArgs,
    caller: &'a Caller,
    store: &'a Store,
    chosen: &'a Chosen,
    command: Command,
    hostname: String,
}

impl Run<'_> {
    /// Mounts, runs the program and unmounts; its exit status.
    fn mounted(&self) -> Result<u8> {
        // The mount is seen in this process's own mount namespace only, so that one place serves all.
        let root = self.store.mount_point();
        let keeps_id = self.args.userns == Userns::KeepId;
        let mut options = Options::for_run(self.caller.backend);
        if keeps_id {
            options.owners = namespace::owners_keeping_id(self.caller.uid, self.caller.gid);
        }
        let subject = &self.chosen.subject;
        let plan = image_mount::plan(self.store, subject, &options, root.clone(), self.args.ro)?;
        let daemon = server::spawn(plan)?;
        let live = live::register(self.store, self.chosen.live(&self.command));
        let status = self.in_root(&root, live);
        let unmounted = fuse_mount::unmount(&root, false)
            // Something that the program left behind outside of its pid namespace holds it.
            .or_else(|_| fuse_mount::unmount(&root, true));
        let served = waitpid(Some(daemon.pid), WaitOptions::empty()).context("wait for the daemon");
        unmounted?;
        if let Some(container) = self.chosen.kept()
            && let Err(failure) = image_mount::remove_places(self.store, container)
        {
            log::warn!("{failure}");
        }
        // The lock of the container.
        drop(daemon.hold);
        match served?.and_then(|(_, status)| status.exit_status()) {
            Some(0) => status,
            _ => Err(CliError::new(
                "the daemon that served the container has failed",
            )),
        }
    }

    /// Runs the program in the mounted root.
    fn in_root(&self, path: &Path, live: Option<LiveEntry>) -> Result<u8> {
        let root = Root::open(path)?;
        let identity = self.identity(&root)?;
        let scratch = match self.store.scratch() {
            Ok(scratch) => Some(scratch),
            Err(error) => {
                log::warn!("the container gets no /etc/hosts and /etc/resolv.conf: {error}");
                None
            }
        };
        let spec = self.spec(path, &root, &identity, scratch.as_ref())?;
        if let Some(container) = self.chosen.kept() {
            places::record(self.store, container, &root, &spec)?;
        }
        drop(root);
        let signals = attend::hold_signals()?;
        match &self.caller.runtime {
            None => self.inside(spec, live, &signals),
            Some(runtime) => {
                let scratch = scratch.as_ref().ok_or_else(|| {
                    CliError::new("another runtime needs a store that can be written to")
                })?;
                let bundle = external::Bundle::write(scratch.path(), &spec, runtime)?;
                let started = |pid: Option<Pid>| {
                    let process = pid.map(|pid| pid.as_raw_nonzero().to_string());
                    // The runtime is the one that knows what they were before the program ran.
                    let namespaces = process.map(|process| namespaces::of(&process));
                    let namespaces = namespaces.and_then(Result::ok).unwrap_or_default();
                    self.started(live, pid, namespaces, spec)
                };
                let attend =
                    |child, runtime, first| attend::attend(child, runtime, first, &signals);
                external::run(&bundle, started, attend)
            }
        }
    }

    /// Runs it by the runtime in this program.
    fn inside(&self, spec: Spec, live: Option<LiveEntry>, signals: &SignalQueue) -> Result<u8> {
        let started = launch::start(spec.clone(), self.args.init)?;
        let namespaces = started.namespaces.clone();
        let _live = self.started(live, Some(started.pid), namespaces, spec);
        attend::with_terminal(started, signals)
    }

    /// Makes the container known to `exec` and `stop`.
    fn started(
        &self,
        live: Option<LiveEntry>,
        pid: Option<Pid>,
        namespaces: Vec<String>,
        spec: Spec,
    ) -> Option<LiveEntry> {
        let mut live = live?;
        let updated = live.update(|record| {
            record.init = pid.and_then(|pid| ProcessId::of(pid).ok());
            record.what.namespaces = namespaces;
            record.what.configuration = serde_json::to_value(spec).ok();
        });
        if let Err(error) = updated {
            log::warn!("exec and stop will not find the container: {error}");
        }
        Some(live)
    }

    fn identity(&self, root: &Root) -> Result<Identity> {
        if self.args.userns == Userns::KeepId && self.args.container_options.user.is_none() {
            let user = format!("{}:{}", self.caller.uid, self.caller.gid);
            return accounts::identity(root, &user);
        }
        accounts::identity(root, &self.command.user)
    }

    /// The configuration for the root that is mounted at `path`.
    fn spec(
        &self,
        path: &Path,
        root: &Root,
        identity: &Identity,
        scratch: Option<&Scratch>,
    ) -> Result<Spec> {
        let options = &self.args.container_options;
        let files = match scratch {
            Some(scratch) => files::write(scratch.path(), root, options, &self.hostname)?,
            None => Vec::new(),
        };
        let terminal = self.args.tty.unwrap_or_else(attend::has_terminal);
        let mut environment = self.caller.environment.clone();
        if terminal {
            environment.insert(0, host::term());
        }
        oci::configuration(&oci::Request {
            image: &self.chosen.image.config,
            options,
            command: &self.command,
            identity,
            hostname: &self.hostname,
            root: path,
            read_only: self.args.ro || options.read_only,
            terminal,
            environment: &environment,
            directory: &self.caller.directory,
            files: &files,
            host: &host::examine(),
        })
    }
}

//! `plyfs ps`.

use std::path::Path;

use clap::Args;
use plyfs_store::{LiveKind, LiveRecord, Store};
use serde::Serialize;

use crate::containers::live;
use crate::error::Result;
use crate::{output, storage};

/// List the containers and the mounts of the store, with the processes that serve them
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The names of the containers in use alone, for stop; with --all those of all containers, for rm
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// With --quiet, also containers that are not in use; the table always lists them
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// A container, or something that is live without one, as programs read it.
#[derive(Serialize)]
struct Listed {
    /// The name of the container, or the id of what has none.
    name: String,
    /// The name that its image had.
    image: String,
    /// Digest of the manifest of that.
    image_digest: String,
    /// RFC 3339.
    created: String,
    in_use: bool,
    /// `running`, `mounted`, `in use` if no record says how, or empty.
    status: &'static str,
    /// Whether it ends with its process. Mounts of images do, too.
    temporary: bool,
    /// The process that serves it.
    pid: Option<i32>,
    /// Where it is mounted.
    target: Option<String>,
    namespace: Option<Namespace>,
    /// Whether it is in the mount namespace of the caller.
    here: bool,
    /// The program and its arguments.
    command: Vec<String>,
    /// `fuse` or `kernel`.
    backend: Option<String>,
}

/// Numbers of namespaces, as lsns(8) shows them.
#[derive(Serialize)]
struct Namespace {
    mnt: u64,
    user: u64,
}

impl Listed {
    /// The row of a live record.
    fn live(record: &LiveRecord) -> Self {
        let target = record.what.target.as_ref();
        Self {
            name: record.id.to_string(),
            image: record.what.image.to_string(),
            image_digest: record.what.manifest_digest.to_string(),
            created: record.started.clone(),
            in_use: true,
            status: match record.what.kind {
                LiveKind::Run => "running",
                LiveKind::Mount => "mounted",
            },
            temporary: record.what.temporary || record.what.container.is_none(),
            pid: Some(record.process.pid),
            target: target.map(|target| target.display().to_string()),
            namespace: Some(Namespace {
                mnt: record.namespace.mnt,
                user: record.namespace.user,
            }),
            here: live::is_here(record),
            command: record.what.command.clone(),
            backend: record.what.backend.clone(),
        }
    }

    fn status(&self) -> String {
        let target = self.target.as_deref().map(output::plain);
        match target {
            Some(target) if self.here => format!("{} on {target}", self.status),
            Some(target) => format!("{} on {target} (another mount namespace)", self.status),
            None => self.status.to_owned(),
        }
    }
}

/// Lists the containers in the store, and what else is live in it.
pub(crate) fn ps(args: &PsArgs, store: Option<&Path>) -> Result {
    let listed = match storage::open_if_there(store, storage::location(store)?)? {
        None => Vec::new(),
        Some(store) => listed(&store)?,
    };
    if args.json {
        return output::json(&listed);
    }
    if args.quiet {
        // rm takes no mount of an image.
        let is_container = |one: &&Listed| !one.temporary || one.target.is_none();
        let is_asked_for = |one: &&Listed| args.all || one.in_use;
        let names = listed.iter().filter(is_container).filter(is_asked_for);
        let names = names.map(|one| format!("{}\n", one.name));
        return output::write(&names.collect::<String>());
    }
    let row = |one: &Listed| {
        [
            one.name.clone(),
            one.image.clone(),
            output::time(&one.created),
            one.status(),
            one.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        ]
    };
    let rows: Vec<[String; 5]> = listed.iter().map(row).collect();
    output::table(["NAME", "IMAGE", "CREATED", "STATUS", "PID"], &rows)
}

fn listed(store: &Store) -> Result<Vec<Listed>> {
    let mut live = store.live()?;
    let mut listed = Vec::new();
    for record in store.containers()? {
        let is_of = |live: &LiveRecord| live.what.container.as_ref() == Some(&record.name);
        let container = Listed {
            name: record.name.to_string(),
            image: record.image.to_string(),
            image_digest: record.manifest_digest.to_string(),
            created: record.created.clone(),
            in_use: false,
            status: "",
            temporary: false,
            pid: None,
            target: None,
            namespace: None,
            here: false,
            command: Vec::new(),
            backend: None,
        };
        listed.push(match live.iter().position(is_of) {
            Some(at) => Listed {
                name: container.name,
                created: container.created,
                ..Listed::live(&live.remove(at))
            },
            // Another process may just have removed it. A commit has no record.
            None if store.is_in_use(&record.name).unwrap_or(false) => Listed {
                in_use: true,
                status: "in use",
                ..container
            },
            None => container,
        });
    }
    listed.extend(live.iter().map(Listed::live));
    Ok(listed)
}

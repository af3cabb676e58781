//! `plyfs doctor`: what this machine lets plyfs do.
//!
//! Everything is found out by trying it, in processes and namespaces of its own and on temporary
//! files, and never by versions: distributions carry patches, and containers take things away.

mod files;
mod idle;
mod ids;
mod inside;
mod probe;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::error::{CliError, Result, reason};
use crate::mount::fuse_mount;
use crate::{namespace, output, storage};
use inside::{Trial, Where};
use probe::Probe;

/// Try what plyfs can do on this machine, and show how to enable the rest
///
/// The exit status is 0, and 1 if nothing can be mounted at all.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    /// Whether anything can be mounted at all.
    can_mount: bool,
    probes: &'a [Probe],
}

/// Tries everything and prints the results.
pub(crate) fn doctor(args: &DoctorArgs, store: Option<&Path>) -> Result {
    let place = place(store);
    // They work while this process goes on.
    let here = namespace::can_mount().then_some(Where::Here);
    let trials = here.into_iter().chain([Where::UserNamespace]);
    let trials: Vec<_> = trials.map(|which| Trial::start(which, &place)).collect();
    let helpers = helpers();
    let ring = plyfs_sys::uring::probe();
    let files = files::probe(&place);
    let mut probes = vec![Probe::new(
        ("fuse_device", "/dev/fuse"),
        fuse_mount::open_device().map(drop),
        "it can be opened",
        "modprobe fuse; in a container: --device /dev/fuse; else chmod 0666 /dev/fuse, as root",
    )];
    for trial in trials {
        let tried = trial.and_then(Trial::finish).unwrap_or_else(|failure| {
            let tried: Result<(), _> = Err(failure);
            let remedy = "look at the limits of processes (ulimit -u)";
            vec![Probe::new(("trial", "trying to mount"), tried, "", remedy)]
        });
        probes.extend(tried);
    }
    probes.extend(helpers);
    probes.push(Probe::new(
        ("io_uring", "io_uring"),
        ring,
        "not used yet",
        "sysctl kernel.io_uring_disabled=0; in a container: a seccomp profile that allows it",
    ));
    probes.extend(files);
    probes.extend(idle::probe());
    let works = |key: &str| probes.iter().any(|probe| probe.key == key && probe.ok);
    let can_mount = [
        "kernel_overlay",
        "fuse_mount",
        "userns_kernel_overlay",
        "userns_fuse_mount",
    ]
    .iter()
    .any(|key| works(key))
        || works("fuse_device") && works("fusermount3");
    if args.json {
        let probes = &probes;
        output::json(&Report { can_mount, probes })?;
    } else {
        print(&probes)?;
    }
    match can_mount {
        true => Ok(()),
        false => Err(CliError::new(
            "nothing can be mounted here: neither the kernel's overlay nor FUSE, here or in a user \
             namespace",
        )),
    }
}

fn print(probes: &[Probe]) -> Result {
    let row = |probe: &Probe| {
        let note = match &probe.remedy {
            None => probe.detail.clone(),
            Some(remedy) => format!("{}. To get it: {remedy}", probe.detail),
        };
        let state = if probe.ok { "ok" } else { "missing" };
        [probe.name.clone(), state.to_owned(), output::plain(&note)]
    };
    let rows: Vec<[String; 3]> = probes.iter().map(row).collect();
    output::table(["WHAT", "STATE", "NOTE"], &rows)
}

/// A directory on the file system of the store: where that is, or would be.
fn place(store: Option<&Path>) -> PathBuf {
    let location = storage::location(store).unwrap_or_else(|_| std::env::temp_dir());
    // Nothing else may be in the directory of a store.
    let staging = location.join("staging");
    let mut above = std::iter::once(staging.as_path()).chain(location.ancestors().skip(1));
    let writable = |dir: &&Path| {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        dir.is_dir() && rustix::fs::access(*dir, access).is_ok()
    };
    above
        .find(writable)
        .map_or_else(std::env::temp_dir, Path::to_owned)
}

/// Programs of others that ordinary users need for some things.
fn helpers() -> Vec<Probe> {
    // It opens the device as the user who runs it.
    let (outside, remedy) = match (ids::set_uid("fusermount3"), fuse_mount::open_device()) {
        (Ok(()), Err(errno)) => {
            let why = format!(
                "it needs /dev/fuse, which cannot be opened: {}",
                reason(&errno)
            );
            (Err(why), "see /dev/fuse")
        }
        (outside, _) => (outside, "install the package fuse3"),
    };
    let mut probes = vec![Probe::new(
        ("fusermount3", "fusermount3"),
        outside,
        "ordinary users mount outside of a namespace, too",
        remedy,
    )];
    let mappers = ids::mappers();
    probes.push(Probe::new(
        ("newuidmap", "newuidmap, newgidmap"),
        mappers,
        "they map subordinate ids",
        "install the package uidmap (shadow-utils)",
    ));
    probes
}

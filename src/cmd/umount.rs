//! `plyfs umount`.

use std::path::{Path, PathBuf};

use clap::Args;
use plyfs_store::{LiveKind, LiveRecord};

use super::bundle;
use super::shared::unmounting::{unmount_live, wait_for};
use crate::containers::live;
use crate::error::{CliError, Context, Result};
use crate::mount::serving::{Device, Server};
use crate::mount::{fuse_mount, mountinfo};
use crate::storage;

#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Detach now and finish when it is no longer in use
    #[arg(short, long)]
    pub(crate) lazy: bool,
    /// The directory that is mounted on, in whatever mount namespace of this user, or the container
    #[arg(value_name = "MOUNTPOINT|CONTAINER")]
    pub(crate) mountpoint: PathBuf,
}

/// Unmounts, and waits until the process that serves or keeps the mount has released the layers.
///
/// If nothing is mounted there in this mount namespace, looks for a mount among the live records of the store.
pub(crate) fn umount(args: &UmountArgs, store: Option<&Path>) -> Result {
    let target = followed(std::path::absolute(&args.mountpoint).context("resolve a path")?);
    let target = match bundle::mounted_below(&target) {
        Some(root) if !mountinfo::is_mount_point(&target) => root,
        _ => target,
    };
    // Asked before the mount is gone: no path leads to its device then.
    let device = Device::mounted_on(&target);
    let is_mounted = device.is_some() || mountinfo::is_mount_point(&target);
    let servers = device.map(Server::all_of).unwrap_or_default();
    if !is_mounted {
        return match live_mount(&args.mountpoint, &target, store)? {
            Some(record) => unmount_live(&record, args.lazy),
            None => Err(not_mounted(&args.mountpoint, &target, store)),
        };
    }
    if !fuse_mount::unmount_own(&target, args.lazy)? {
        return match live_mount(&args.mountpoint, &target, store)? {
            Some(record) => unmount_live(&record, args.lazy),
            None => Err(fuse_mount::not_unmounted(&target, rustix::io::Errno::INVAL)),
        };
    }
    if let Some(device) = device.filter(|_| !args.lazy) {
        wait_for(&servers, device, &target);
    }
    Ok(())
}

/// Why there is nothing to unmount. Does not call fusermount3(1), whose message names the table it has read.
fn not_mounted(argument: &Path, target: &Path, store: Option<&Path>) -> CliError {
    let name = argument.to_str().and_then(|name| name.parse().ok());
    if let (Some(name), Some(store)) = (name, storage::open_if_usable(store))
        && store.container(&name).is_ok()
    {
        return CliError::new(format_args!("the container \"{name}\" is not mounted"));
    }
    match target.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => CliError::new(format_args!(
            "cannot unmount {}: there is no such directory, and no container of that name",
            argument.display()
        )),
        _ => fuse_mount::not_unmounted(target, rustix::io::Errno::INVAL),
    }
}

/// The mount of the store that is on a directory in another mount namespace, or is called so.
fn live_mount(argument: &Path, target: &Path, store: Option<&Path>) -> Result<Option<LiveRecord>> {
    let Some(store) = storage::open_if_usable(store) else {
        return Ok(None);
    };
    let live = match store.live() {
        Ok(live) => live,
        Err(error) => {
            log::debug!("{error}");
            return Ok(None);
        }
    };
    // Records have paths without links.
    let resolved = target.canonicalize();
    let resolved = resolved.as_deref().unwrap_or(target);
    let is_there = |record: &&LiveRecord| {
        let at = record.what.target.as_deref();
        (at == Some(target) || at == Some(resolved)) && !live::is_here(record)
    };
    let there: Vec<&LiveRecord> = live.iter().filter(is_there).collect();
    match there.as_slice() {
        [] => {}
        [one] => return live::settled(&store, (*one).clone()),
        several => return Err(ambiguous(target, several)),
    }
    let name = argument.to_str().unwrap_or_default();
    match live.into_iter().find(|record| record.is_called(name)) {
        Some(record) if record.what.kind == LiveKind::Run => Err(CliError::new(format_args!(
            "the container \"{name}\" is not mounted but runs; end it with \"{}\"",
            live::remedy(&record)
        ))),
        Some(record) => live::settled(&store, record),
        None => Ok(None),
    }
}

/// A directory on which something is mounted in several namespaces.
fn ambiguous(target: &Path, records: &[&LiveRecord]) -> CliError {
    let name = |record: &&LiveRecord| {
        let (id, pid) = (&record.id, record.process.pid);
        format!("{id} ({}) by process {pid}", record.what.image)
    };
    let names: Vec<String> = records.iter().map(name).collect();
    CliError::new(format_args!(
        "{} is mounted on in several other mount namespaces: {}; unmount one by its name",
        target.display(),
        names.join(", ")
    ))
}

/// The path that a symbolic link leads to, since `plyfs mount` mounts there too. Any other path is returned as it is,
/// without a call on the file system mounted there: its daemon may have ended.
fn followed(path: PathBuf) -> PathBuf {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => path.canonicalize().unwrap_or(path),
        _ => path,
    }
}

//! Unmounting what a live record names, and waiting for the process that serves a mount.

use std::path::Path;
use std::time::{Duration, Instant};

use plyfs_store::LiveRecord;
use rustix::process::Signal;

use crate::containers::live;
use crate::error::{CliError, Result};
use crate::mount::serving::{Device, Server};
use crate::mount::{fuse_mount, mountinfo};
use crate::pidfd;

/// Unmounts a mount in any mount namespace. In another one the process that serves the mount unmounts it, on a
/// signal.
pub(crate) fn unmount_live(record: &LiveRecord, lazy: bool) -> Result {
    let target = record.what.target.as_deref().unwrap_or(Path::new("/"));
    if live::is_here(record) {
        let device = Device::mounted_on(target);
        let servers = device.map(Server::all_of).unwrap_or_default();
        fuse_mount::unmount(target, lazy)?;
        if let Some(device) = device.filter(|_| !lazy) {
            wait_for(&servers, device, target);
        }
        return Ok(());
    }
    let pid = u32::try_from(record.process.pid);
    let server = pid.ok().and_then(Server::of_process);
    let process = match live::signal(record, Signal::TERM)? {
        Some(process) if !lazy => process,
        _ => return Ok(()),
    };
    let is_ending = || server.as_ref().is_some_and(Server::is_ending);
    if ends_within(PATIENCE_AT_END, || pidfd::has_ended(&process), is_ending) {
        return Ok(());
    }
    // Only now can this process know that the mount is in use there; the other one has already detached it.
    Err(CliError::new(format_args!(
        "{} was detached, but something still uses it in its mount namespace; process {} serves it \
         until that has ended",
        target.display(),
        record.process.pid
    )))
}

/// How long a daemon may take to notice that the file system is gone.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);

/// Waits until the processes that serve a mount have ended, which they do when the file system is gone. As long as there
/// is a copy of the mount, the file system is not gone: then warns and returns.
pub(crate) fn wait_for(servers: &[Server], device: Device, target: &Path) {
    /// Reading the table of mounts takes long where there are many, and most processes end sooner than this.
    const BEFORE_READING: Duration = Duration::from_millis(50);
    for server in servers {
        let ends_within = |time| ends_within(time, || server.has_ended(), || server.is_ending());
        if ends_within(BEFORE_READING) {
            continue;
        }
        let copy = mountinfo::mount_point_of(device);
        if copy.is_none() && ends_within(PATIENCE_AT_END) {
            continue;
        }
        let place = copy.map_or("in another mount namespace".to_owned(), |path| {
            format!("on {}", path.display())
        });
        return log::warn!(
            "{} is still mounted {place}, which keeps its layers in use",
            target.display()
        );
    }
}

/// Waits until a process that serves a mount has ended, however long it needs to sync written data; returns
/// `false` if it serves the mount after this time.
fn ends_within(time: Duration, has_ended: impl Fn() -> bool, is_ending: impl Fn() -> bool) -> bool {
    /// The longest time between two looks. The first ones are short: most processes end at once.
    const TURN: Duration = Duration::from_millis(20);
    let start = Instant::now();
    let mut turn = Duration::from_micros(200);
    while !has_ended() {
        if start.elapsed() >= time && !is_ending() {
            return false;
        }
        std::thread::sleep(turn);
        turn = TURN.min(turn * 2);
    }
    true
}

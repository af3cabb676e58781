//! The file systems around an image: what every container expects, and what the user adds.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::options::Network;
use super::request::Request;
use crate::error::{Context, Result};

/// All mounts of a container, in the order in which they are made.
pub(super) fn mounts(request: &Request<'_>) -> Result<Vec<Mount>> {
    let terminals = if request.host.has_tty_group {
        "newinstance,ptmxmode=0666,mode=0620,gid=5"
    } else {
        "newinstance,ptmxmode=0666,mode=0620"
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev")?,
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            "nosuid,noexec,strictatime,mode=755,size=65536k",
        )?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &format!("nosuid,noexec,{terminals}"),
        )?,
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            "nosuid,noexec,nodev,mode=1777,size=65536k",
        )?,
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev")?,
        sys(request)?,
        cgroups(request)?,
    ];
    let user_mounts = user_mounts(request)?;
    let is_users = |place: &str| {
        let mut all = user_mounts.iter();
        all.any(|mount| mount.destination() == Path::new(place))
    };
    // Programs need directories to write to; as Podman does, but without what the image has there. Files
    // come after them, since links of the image may lead them there (/etc/resolv.conf to /run).
    if request.options.read_only {
        let places = ["/run", "/tmp", "/var/tmp"].into_iter();
        for place in places.filter(|place| !is_users(place)) {
            mounts.push(mount(place, "tmpfs", "tmpfs", "nosuid,nodev,mode=1777")?);
        }
    }
    // A file of the user's at the same place replaces one of plyfs.
    for (file, place) in request.files.iter().filter(|(_, place)| !is_users(place)) {
        mounts.push(of_file(file, place, request.read_only)?);
    }
    mounts.extend(user_mounts);
    Ok(mounts)
}

/// sysfs shows the network of the namespace it is mounted in, and only the owner of that may mount it: a
/// container with the machine's network in a user namespace sees the machine's, read-only.
fn sys(request: &Request<'_>) -> Result<Mount> {
    let own_network = request.options.network == Network::None;
    if request.host.in_user_namespace && !own_network {
        mount(
            "/sys",
            "bind",
            "/sys",
            "rbind,rprivate,nosuid,noexec,nodev,ro",
        )
    } else {
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro")
    }
}

/// Control groups, from the container's own on; nothing where they are not of version 2, which plyfs does
/// not separate.
fn cgroups(request: &Request<'_>) -> Result<Mount> {
    if request.host.unified_cgroups {
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            "rprivate,nosuid,noexec,nodev,relatime,ro",
        )
    } else {
        mount(
            "/sys/fs/cgroup",
            "tmpfs",
            "tmpfs",
            "nosuid,noexec,nodev,ro,mode=755,size=0",
        )
    }
}

/// The user's, those of outer directories first, since a mount hides what is mounted below it before.
fn user_mounts(request: &Request<'_>) -> Result<Vec<Mount>> {
    let mut wanted: Vec<_> = request.options.user_mounts().collect();
    wanted.sort_by_key(|mount| mount.target().components().count());
    let mounts = wanted
        .into_iter()
        .map(|one| one.to_mount(request.directory));
    mounts.collect()
}

/// A file of plyfs's own for the container, which is as writable as its root.
fn of_file(file: &Path, place: &str, read_only: bool) -> Result<Mount> {
    let source = file.to_string_lossy();
    let options = if read_only {
        "bind,rprivate,nosuid,noexec,nodev,ro"
    } else {
        "bind,rprivate,nosuid,noexec,nodev"
    };
    mount(place, "bind", &source, options)
}

fn mount(target: &str, kind: &str, source: &str, options: &str) -> Result<Mount> {
    let options: Vec<String> = options.split(',').map(str::to_owned).collect();
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(PathBuf::from(source))
        .options(options)
        .build()
        .context("describe a mount")
}

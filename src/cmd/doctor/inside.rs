//! What can be mounted. A process tries it in namespaces of its own; when it ends, they end, and with them
//! whatever it has mounted.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use plyfs_sys::process::{Fork, fork};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::ids;
use super::probe::Probe;
use crate::error::{CliError, Context, Result};
use crate::namespace;

/// The namespaces in which a process tries to mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// The user namespace of this process, where it may mount.
    Here,
    /// One of its own, as an ordinary user gets it.
    UserNamespace,
}

/// A process that tries.
pub(super) struct Trial {
    said: File,
}

impl Trial {
    /// Starts to try to mount there, with directories in `place`.
    pub(super) fn start(which: Where, place: &Path) -> Result<Self> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (listen, tell) = rustix::pipe::pipe_with(flags).context("make a pipe")?;
        match fork().context("start a process")? {
            Fork::Parent(_) => Ok(Self {
                said: listen.into(),
            }),
            Fork::Child => {
                drop(listen);
                // The probes report what is missing, so this process logs nothing.
                log::set_max_level(log::LevelFilter::Off);
                let probes = probe_inside(which, place);
                let told = serde_json::to_vec(&probes).map_err(std::io::Error::from);
                let told = told.and_then(|bytes| File::from(tell).write_all(&bytes));
                std::process::exit(i32::from(told.is_err()));
            }
        }
    }

    /// Reads the probes that the process sends at its end.
    pub(super) fn finish(mut self) -> Result<Vec<Probe>> {
        let mut said = Vec::new();
        // Do not wait for the process itself: the kernel needs longer to take its namespaces down than the
        // process needed for all its work.
        self.said
            .read_to_end(&mut said)
            .context("hear from a process")?;
        serde_json::from_slice(&said).context("understand a process")
    }
}

fn probe_inside(which: Where, place: &Path) -> Vec<Probe> {
    // Make the directory before the process enters the namespaces, while it still has its ids of outside.
    let dir = tempfile::Builder::new()
        .prefix(".plyfs-doctor-")
        .tempdir_in(place);
    let mut probes = Vec::new();
    let (prefix, suffix) = match which {
        Where::Here => ("", ""),
        Where::UserNamespace => ("userns_", " in a user namespace"),
    };
    let is_root = namespace::can_mount();
    let owner = ids::Owner::current();
    let entered = match which {
        Where::Here => namespace::enter_mounts_only(),
        Where::UserNamespace => namespace::enter(),
    };
    let inside = entered.is_ok();
    if which == Where::UserNamespace {
        probes.push(Probe::new(
            ("user_namespaces", "user namespaces"),
            entered,
            "images run and are mounted without root",
            &namespace::remedy_for_refusal(),
        ));
        // The superuser needs no subordinate ids.
        if inside && !is_root {
            probes.push(ids::probe(ids::mappers().is_ok(), &owner));
        }
    }
    if !inside {
        return probes;
    }
    let key = |name: &str| format!("{prefix}{name}");
    let overlay = match &dir {
        Ok(dir) => overlay(dir.path()),
        Err(error) => Err(CliError::new(error)),
    };
    probes.push(Probe::new(
        (&key("kernel_overlay"), &format!("kernel overlay{suffix}")),
        overlay,
        "--backend kernel and auto can use it",
        "modprobe overlay, Linux 5.11 for user namespaces, and a store on a file system that can \
         be an upper directory; without, FUSE serves all mounts",
    ));
    let features = fuse();
    probes.push(Probe::new(
        (&key("fuse_mount"), &format!("FUSE mounts{suffix}")),
        features.as_ref().map(drop),
        "--backend fuse and auto can use it",
        "see /dev/fuse; without, the kernel's overlay serves what it can",
    ));
    match (features, which) {
        (Ok(features), Where::Here) => probes.extend(offers(features, true)),
        (Ok(features), Where::UserNamespace) if !is_root => probes.extend(offers(features, false)),
        _ => {}
    }
    probes
}

/// What the kernel offers to a server when a mount begins.
fn offers(features: u64, is_root: bool) -> Vec<Probe> {
    let offered = |bit: u32| match features & 1 << bit != 0 {
        true => Ok(()),
        false => Err("the kernel does not offer it to a mount"),
    };
    let passthrough = match offered(37) {
        Ok(()) if !is_root => Err("the kernel offers it, but to root only"),
        other => other,
    };
    vec![
        Probe::new(
            ("fuse_passthrough", "FUSE passthrough"),
            passthrough,
            "passthrough=1 can be used on mounts without an upper directory",
            "Linux 6.9 with CONFIG_FUSE_PASSTHROUGH, as root",
        ),
        Probe::new(
            ("fuse_io_uring", "FUSE over io_uring"),
            offered(41),
            "not used yet",
            "Linux 6.14 with CONFIG_FUSE_IO_URING, and echo Y \
             >/sys/module/fuse/parameters/enable_uring, as root",
        ),
    ]
}

/// Mounts an overlay that is not attached to any directory, so that no process sees it.
fn overlay(dir: &Path) -> Result {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("open it (fsopen)")?;
    if !namespace::is_initial() {
        fsconfig_set_flag(&context, "userxattr").context("set userxattr")?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for name in ["lowerdir", "upperdir", "workdir"] {
        let path = dir.join(name);
        std::fs::create_dir(&path).context("make a directory")?;
        let opened = rustix::fs::open(&path, flags, Mode::empty()).context("open a directory")?;
        let key = if name == "lowerdir" {
            "lowerdir+"
        } else {
            name
        };
        if fsconfig_set_fd(&context, key, &opened).is_err() {
            let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
            fsconfig_set_string(&context, name, path).context(format_args!("set {name}"))?;
        }
    }
    // With `volatile` the kernel does not sync the whole upper file system when it unmounts.
    fsconfig_set_flag(&context, "volatile").context("set volatile")?;
    fsconfig_create(&context).context("make it")?;
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    fsmount(&context, flags, attributes)
        .map(drop)
        .context("mount it")
}

/// Mounts FUSE in the mount namespace of this process alone, and returns the features that the kernel offers.
fn fuse() -> Result<u64> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty()).context("open /dev/fuse")?;
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let data = std::ffi::CString::new(data).context("mount")?;
    let target = std::env::temp_dir();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("plyfs", &target, "fuse.plyfs", flags, &*data).context("mount")?;
    let features = features(&device);
    // The temporary directory of the probe lies below: uncover it again.
    rustix::mount::unmount(&target, UnmountFlags::DETACH).context("unmount")?;
    features
}

/// The features in the first request of the kernel: after a header of 40 bytes, version (8) and
/// readahead (4) they come in two halves.
fn features(device: &OwnedFd) -> Result<u64> {
    let mut request = vec![0; 256 << 10];
    let length = rustix::io::read(device, &mut request).context("hear from the kernel")?;
    let word = |at: usize| {
        let bytes = request.get(..length)?.get(at..at + 4)?;
        Some(u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)))
    };
    Ok(word(52).unwrap_or(0) | word(56).unwrap_or(0) << 32)
}

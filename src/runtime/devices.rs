//! The devices of a container: those that the specification names (config-linux.md, "Default Devices").

use std::os::fd::OwnedFd;
use std::path::Path;

use plyfs_sys::mount::Change;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::mounts::{attach, clone_of};
use super::root::{Links, Root};
use crate::error::{CliError, Context, Result};

/// Name, major and minor number (`Documentation/admin-guide/devices.txt`).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Links that programs expect in /dev.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Attributes of a device of the machine that is shown in a container. It can still be written to,
/// but its mode and owner cannot be changed by way of the container.
const OF_MACHINE: Change = Change {
    read_only: Some(true),
    nosuid: Some(true),
    nodev: None,
    noexec: Some(true),
};

/// Fills /dev, which is a file system of the container's own.
pub(super) fn make(root: &Root) -> Result {
    let dev = match root.find(Path::new("/dev"), Links::Refuse) {
        // Read-only, and without the directory: there is no place.
        Err(Errno::NOENT) => return Ok(()),
        found => found.context("open /dev in the container")?,
    };
    // With their modes from the beginning: where /dev is a directory that another container has too, a name
    // may lead elsewhere before its mode could be set (CVE-2026-88264).
    let umask = rustix::process::umask(Mode::empty());
    for (name, major, minor) in DEVICES {
        make_device(&dev, name, major, minor)?;
    }
    rustix::process::umask(umask);
    for (to, name) in LINKS {
        match rustix::fs::symlinkat(to, &dev, name) {
            // A mount of the user's.
            Err(Errno::EXIST) => {}
            made => made.context(format_args!("make /dev/{name}"))?,
        }
    }
    Ok(())
}

/// A node of the container's own where one may be made, else the machine's.
fn make_device(dev: &OwnedFd, name: &str, major: u32, minor: u32) -> Result {
    let action = format!("make /dev/{name} in the container");
    let device = rustix::fs::makedev(major, minor);
    let mode = Mode::from_raw_mode(0o666);
    match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, device) {
        Ok(()) | Err(Errno::EXIST) => return Ok(()),
        Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).context(action),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let place = match rustix::fs::openat(dev, name, flags, mode) {
        Err(Errno::EXIST) => return Ok(()),
        made => made.context(&action)?,
    };
    let shown = of_machine(name, major, minor)?;
    attach(&shown, &place).context(action)
}

/// A mount of a device of the machine that is nowhere yet. What is not the device that its name says is not
/// shown (CVE-2025-31133).
fn of_machine(name: &str, major: u32, minor: u32) -> Result<OwnedFd> {
    let path = Path::new("/dev").join(name);
    let shown = path.display();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(&path, flags, Mode::empty());
    let found = found.context(format_args!("open {shown}"))?;
    let stat = rustix::fs::fstat(&found).context(format_args!("examine {shown}"))?;
    let is_device = FileType::from_raw_mode(stat.st_mode).is_char_device();
    if !is_device || stat.st_rdev != rustix::fs::makedev(major, minor) {
        return Err(CliError::new(format_args!(
            "{shown} is not the device {major}:{minor} on this machine"
        )));
    }
    clone_of(&found, OF_MACHINE, false).context(format_args!("show {shown} in the container"))
}

/// A mount of the machine's /dev/null that is nowhere yet, to cover files with.
pub(super) fn null() -> Result<OwnedFd> {
    of_machine("null", 1, 3)
}

//! Getting a FUSE connection mounted, and unmounting it.
//!
//! A process that may mount calls mount(2). An ordinary user outside a user namespace asks the set-uid
//! helper fusermount3(1), which opens the device and mounts, and passes the descriptor back over a
//! socket.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::mountinfo;
use super::plan::Target;
use crate::error::{CliError, Context, Result, reason};
use crate::{descriptor, namespace};

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";

/// Mounts a FUSE file system and returns the descriptor to serve it on.
pub(crate) fn mount(target: &Target) -> Result<OwnedFd> {
    if let Some(number) = target.device {
        return take_over(number);
    }
    if namespace::can_mount() {
        mount_directly(target)
    } else {
        mount_by_helper(target)
    }
}

/// A descriptor of our own of one that this process was started with.
fn take_over(number: RawFd) -> Result<OwnedFd> {
    let action = format!("take over descriptor {number}");
    let itself = rustix::process::getpid();
    let itself = rustix::process::pidfd_open(itself, PidfdFlags::empty()).context(&action)?;
    rustix::process::pidfd_getfd(itself, number, PidfdGetfdFlags::empty()).context(&action)
}

fn mount_directly(target: &Target) -> Result<OwnedFd> {
    let device = open_device().map_err(no_device)?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    for (wanted, word) in [
        (target.allow_other, ",allow_other"),
        (target.default_permissions, ",default_permissions"),
    ] {
        if wanted {
            data.push_str(word);
        }
    }
    let data = std::ffi::CString::new(data).context("mount")?;
    let kind = format!("fuse.{}", target.subtype);
    rustix::mount::mount(&target.source, &target.path, kind, target.flags, &*data)
        .context(format_args!("mount on {}", target.path.display()))?;
    Ok(device)
}

/// Opens the device.
pub(crate) fn open_device() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(DEVICE, flags, Mode::empty())
}

/// Why the device cannot be opened, if it cannot.
pub(crate) fn missing_device() -> Option<CliError> {
    open_device().err().map(no_device)
}

fn no_device(error: Errno) -> CliError {
    let remedy = match error {
        Errno::NOENT => "load the module (modprobe fuse), or pass the device into this container",
        Errno::ACCESS | Errno::PERM => {
            "every user should be able to (chmod 0666 /dev/fuse, as root)"
        }
        _ => "FUSE is not available here",
    };
    CliError::new(format_args!(
        "cannot open {DEVICE}: {}; {remedy}",
        reason(&error)
    ))
}

fn mount_by_helper(target: &Target) -> Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair().context("make a socket")?;
    // The only descriptor the helper is to inherit.
    rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).context("pass a socket on")?;
    let mut helper = Command::new(HELPER)
        .arg("-o")
        .arg(helper_options(target))
        .arg("--")
        .arg(&target.path)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| no_helper(&error, target))?;
    drop(theirs);
    let device = receive(&ours);
    let stderr = helper.stderr.take();
    let said = stderr.map_or(Ok(String::new()), std::io::read_to_string);
    let status = helper.wait().context(format_args!("wait for {HELPER}"))?;
    match device {
        Some(device) if status.success() => Ok(device),
        _ => Err(helper_failed(&said.unwrap_or_default(), target)),
    }
}

fn helper_options(target: &Target) -> OsString {
    let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,");
    let mut options = vec![
        format!("fsname={}", escape(&target.source)),
        format!("subtype={}", escape(&target.subtype)),
    ];
    for (wanted, word) in [
        (target.allow_other, "allow_other"),
        (target.default_permissions, "default_permissions"),
        (target.flags.contains(MountFlags::RDONLY), "ro"),
    ] {
        if wanted {
            options.push(word.to_owned());
        }
    }
    // What only root may ask for is refused by the helper by name.
    let words = target.flag_words.iter().map(|word| (*word).to_owned());
    options.extend(words);
    options.join(",").into()
}

fn no_helper(error: &std::io::Error, target: &Target) -> CliError {
    if error.kind() != std::io::ErrorKind::NotFound {
        return CliError::new(format_args!("cannot run {HELPER}: {}", reason(&error)));
    }
    CliError::new(format_args!(
        "cannot mount on {} as an ordinary user: install {HELPER} (package fuse3), or mount in a \
         namespace of your own, which \"plyfs unshare\" opens",
        target.path.display()
    ))
}

fn helper_failed(said: &str, target: &Target) -> CliError {
    let line = said.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it did not say why");
    let line = line.strip_prefix("fusermount3: ").unwrap_or(line);
    CliError::new(format_args!(
        "cannot mount on {}: {HELPER}: {line}",
        target.path.display()
    ))
}

/// The descriptor that the helper sends; `None` if it ended without.
fn receive(socket: &UnixStream) -> Option<OwnedFd> {
    descriptor::receive(socket).ok().flatten()?.fd
}

/// Changes the flags of a mount. `flags` makes the new ones of those it has.
pub(crate) fn remount(target: &Path, flags: impl FnOnce(MountFlags) -> MountFlags) -> Result {
    let action = format!("remount {}", target.display());
    let before = current_flags(target).context(&action)?;
    let change = |flags| rustix::mount::mount_remount(target, flags, "").context(&action);
    let after = flags(before);
    change(after)?;
    // The kernel lets a FUSE file system become writable unasked. Removing what is not there asks.
    let asked = rustix::fs::removexattr(target, "user.plyfs.none");
    if asked != Err(Errno::ROFS) || after.contains(MountFlags::RDONLY) {
        return Ok(());
    }
    change(before)?;
    Err(CliError::new(format_args!(
        "cannot remount {} writable: it has no upper directory",
        target.display()
    )))
}

fn current_flags(target: &Path) -> rustix::io::Result<MountFlags> {
    use rustix::fs::StatVfsMountFlags as Shown;
    let shown = rustix::fs::statvfs(target)?.f_flag;
    let mut flags = MountFlags::empty();
    for (flag, is_shown_as) in [
        (MountFlags::RDONLY, Shown::RDONLY),
        (MountFlags::NOSUID, Shown::NOSUID),
        (MountFlags::NODEV, Shown::NODEV),
        (MountFlags::NOEXEC, Shown::NOEXEC),
        (MountFlags::SYNCHRONOUS, Shown::SYNCHRONOUS),
        (MountFlags::NOATIME, Shown::NOATIME),
        (MountFlags::NODIRATIME, Shown::NODIRATIME),
        (MountFlags::RELATIME, Shown::RELATIME),
    ] {
        flags.set(flag, shown.contains(is_shown_as));
    }
    Ok(flags)
}

/// Unmounts what is mounted on a path. `lazily` also if it is in use.
pub(crate) fn unmount(target: &Path, lazily: bool) -> Result {
    if namespace::can_mount() {
        let unmounted = unmount_directly(target, lazily);
        return unmounted.map_err(|error| not_unmounted(target, error));
    }
    unmount_by_helper(target, lazily)
}

/// As [`unmount`]. Returns whether it was a mount of this namespace's own: one that came from the
/// namespace of its owner cannot be unmounted here (mount_namespaces(7)).
pub(crate) fn unmount_own(target: &Path, lazily: bool) -> Result<bool> {
    if !namespace::can_mount() {
        return unmount_by_helper(target, lazily).map(|()| true);
    }
    match unmount_directly(target, lazily) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(not_unmounted(target, error)),
    }
}

fn unmount_directly(target: &Path, lazily: bool) -> rustix::io::Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazily);
    rustix::mount::unmount(target, flags)
}

fn unmount_by_helper(target: &Path, lazily: bool) -> Result {
    let mut helper = Command::new(HELPER);
    helper.arg("-u").stdin(Stdio::null());
    if lazily {
        helper.arg("-z");
    }
    let output = helper
        .arg("--")
        .arg(target)
        .output()
        .map_err(|error| no_helper_to_unmount(&error, target))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("it did not say why");
    let line = line.strip_prefix("fusermount3: ").unwrap_or(line);
    log::debug!("{HELPER}: {line}");
    if line.ends_with("Device or resource busy") {
        return Err(not_unmounted(target, Errno::BUSY));
    }
    if !mountinfo::is_own_fuse(target) {
        return Err(CliError::new(format_args!(
            "cannot unmount {}: what is mounted there is no FUSE file system of this user's; root can unmount it",
            target.display()
        )));
    }
    Err(CliError::new(format_args!(
        "cannot unmount {}: {HELPER}: {line}",
        target.display()
    )))
}

fn no_helper_to_unmount(error: &std::io::Error, target: &Path) -> CliError {
    if error.kind() != std::io::ErrorKind::NotFound {
        return CliError::new(format_args!("cannot run {HELPER}: {}", reason(error)));
    }
    CliError::new(format_args!(
        "cannot unmount {} as an ordinary user: install {HELPER} (package fuse3)",
        target.display()
    ))
}

/// Why something was not unmounted.
pub(crate) fn not_unmounted(target: &Path, error: Errno) -> CliError {
    let target = target.display();
    match error {
        Errno::INVAL => CliError::new(format_args!(
            "cannot unmount {target}: nothing is mounted on it in this mount namespace"
        )),
        Errno::BUSY => CliError::new(format_args!(
            "cannot unmount {target}: it is busy; end what uses it (fuser -vm {target} tells), or \
             detach it with --lazy"
        )),
        _ => CliError::new(format_args!("cannot unmount {target}: {}", reason(&error))),
    }
}

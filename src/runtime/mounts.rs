//! The mounts of a container, in the order of its configuration (config.md, "Mounts").
//!
//! A mount is made where nothing sees it, gets its attributes there, and is then put onto the descriptor of
//! its place, so that no path is resolved twice (CVE-2021-30465).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;
use plyfs_sys::mount::{Change, change};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

use super::root::{Links, NoPlace, Root, is_in_system, proc_path};
use crate::error::{CliError, Context, Result, reason};

/// `PROC_SUPER_MAGIC` (statfs(2)).
const PROC: u64 = 0x9fa0;

/// What the words of a mount's `options` mean.
#[derive(Debug, Default)]
struct Words {
    change: Change,
    attributes: Attributes,
    bind: Option<Bind>,
    propagation: Option<MountPropagationFlags>,
    /// For the file system: a name, and a value if it has one.
    data: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bind {
    One,
    Recursively,
}

/// Times of access, which [`Change`] does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Attributes {
    #[default]
    Default,
    NoTimes,
    StrictTimes,
}

impl Words {
    fn read(words: &[String]) -> Self {
        let mut read = Self::default();
        for word in words {
            let private = MountPropagationFlags::PRIVATE;
            let slave = MountPropagationFlags::DOWNSTREAM;
            let all = MountPropagationFlags::REC;
            match word.as_str() {
                "ro" => read.change.read_only = Some(true),
                "nosuid" => read.change.nosuid = Some(true),
                "nodev" => read.change.nodev = Some(true),
                "noexec" => read.change.noexec = Some(true),
                // What is not restricted is so by default, and what an outer namespace restricts stays so.
                "rw" | "suid" | "dev" | "exec" | "atime" | "relatime" | "defaults" => {}
                "noatime" => read.attributes = Attributes::NoTimes,
                "strictatime" => read.attributes = Attributes::StrictTimes,
                "bind" => read.bind = Some(Bind::One),
                "rbind" => read.bind = Some(Bind::Recursively),
                "private" => read.propagation = Some(private),
                "rprivate" => read.propagation = Some(private | all),
                "slave" => read.propagation = Some(slave),
                "rslave" => read.propagation = Some(slave | all),
                "unbindable" => read.propagation = Some(MountPropagationFlags::UNBINDABLE),
                "runbindable" => {
                    read.propagation = Some(MountPropagationFlags::UNBINDABLE | all);
                }
                _ => read.data.push(match word.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word.clone(), None),
                }),
            }
        }
        read
    }
}

/// Makes all mounts.
pub(super) fn make(root: &Root, mounts: &[Mount]) -> Result {
    mounts.iter().try_for_each(|mount| make_one(root, mount))
}

fn make_one(root: &Root, mount: &Mount) -> Result {
    let target = mount.destination();
    let shown = target.display();
    let words = Words::read(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let (made, is_dir) = if words.bind.is_some() || kind == "bind" {
        clone(mount, &words)?
    } else {
        match new(kind, mount, &words) {
            // A kernel without message queues is no reason to fail.
            Err(Errno::NODEV) if kind == "mqueue" => {
                log::debug!("the kernel does not support {kind}; skipping the mount");
                return Ok(());
            }
            Err(Errno::PERM) if kind == "proc" => return Err(no_proc()),
            made => (
                made.context(format_args!("mount {shown} in the container"))?,
                true,
            ),
        }
    };
    let Some(place) = place(root, target, is_dir)? else {
        return Ok(());
    };
    // A bind mount over a file of /proc would hide what the runtime or the container relies on there, and
    // needs no name (CVE-2019-16884, CVE-2025-52881).
    if kind != "proc" && file_system(&place)? == PROC {
        return Err(CliError::new(format_args!(
            "cannot mount {shown} in the container: nothing can be mounted inside /proc"
        )));
    }
    attach(&made, &place).context(format_args!("mount {shown} in the container"))?;
    if let Some(propagation) = words.propagation {
        rustix::mount::mount_change(proc_path(&made), propagation)
            .context(format_args!("set the propagation of {shown}"))?;
    }
    Ok(())
}

/// The place of a mount; `None`, with a warning, if the image has none and cannot get one.
///
/// In a system directory it is what its name says: a link of the image must not lead elsewhere
/// (CVE-2019-19921, CVE-2023-27561).
fn place(root: &Root, target: &Path, is_dir: bool) -> Result<Option<OwnedFd>> {
    let shown = target.display();
    let links = if is_in_system(target) {
        Links::Refuse
    } else {
        Links::Follow
    };
    let place = match root.place(target, is_dir, links) {
        Ok(place) => place,
        Err(NoPlace::Errno(Errno::ROFS)) => {
            log::warn!("the image has no {shown}, and is mounted read-only: going on without");
            return Ok(None);
        }
        Err(NoPlace::Errno(Errno::LOOP | Errno::NOTDIR)) => {
            return Err(CliError::new(format_args!(
                "{shown} is no directory in this image"
            )));
        }
        Err(error) => return Err(error.failure(target)),
    };
    let stat = rustix::fs::fstat(&place).context(format_args!("examine {shown}"))?;
    let found_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
    match (is_dir, found_dir) {
        (true, false) => Err(CliError::new(format_args!(
            "{shown} is no directory in this image"
        ))),
        (false, true) => Err(CliError::new(format_args!(
            "{shown} is a directory in this image, and a file cannot be mounted there"
        ))),
        _ => Ok(Some(place)),
    }
}

/// A copy of a mount of the caller that is nowhere yet; whether it is a directory.
fn clone(mount: &Mount, words: &Words) -> Result<(OwnedFd, bool)> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let shown = source.display();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let recursively = words.bind == Some(Bind::Recursively);
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursively);
    let made = match open_tree(CWD, source, flags) {
        Err(Errno::NOENT) => Err(CliError::new(format_args!(
            "cannot mount {shown} in the container: it is not there on this machine; make it first"
        ))),
        made => made.context(format_args!("mount {shown} in the container")),
    }?;
    let stat = rustix::fs::fstat(&made).context(format_args!("examine {shown}"))?;
    if words.change != Change::default() {
        change(made.as_fd(), words.change, recursively)
            .context(format_args!("restrict the mount of {shown}"))?;
    }
    let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok((made, is_dir))
}

/// A new file system that is mounted nowhere yet.
fn new(kind: &str, mount: &Mount, words: &Words) -> rustix::io::Result<OwnedFd> {
    let kind = if kind == "cgroup" { "cgroup2" } else { kind };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = mount.source().as_deref().and_then(Path::to_str) {
        fsconfig_set_string(&context, "source", source)?;
    }
    for (name, value) in &words.data {
        match value {
            Some(value) => fsconfig_set_string(&context, name.as_str(), value.as_str())?,
            None => fsconfig_set_flag(&context, name.as_str())?,
        }
    }
    fsconfig_create(&context)?;
    let mut attributes = match words.attributes {
        Attributes::Default => MountAttrFlags::empty(),
        Attributes::NoTimes => MountAttrFlags::MOUNT_ATTR_NOATIME,
        Attributes::StrictTimes => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
    };
    for (wanted, attribute) in [
        (words.change.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (words.change.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (words.change.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (words.change.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ] {
        attributes.set(attribute, wanted == Some(true));
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Puts a mount onto a place (move_mount(2)).
pub(super) fn attach(mount: &OwnedFd, place: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// A copy of the mount that a descriptor is of, or of what it is within the mount, with these attributes.
pub(super) fn clone_of(
    fd: &OwnedFd,
    with: Change,
    recursively: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursively);
    let made = open_tree(fd, "", flags)?;
    change(made.as_fd(), with, recursively)?;
    Ok(made)
}

/// An empty directory in memory that nothing can be written to.
pub(super) fn empty_directory() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "tmpfs")?;
    fsconfig_set_string(&context, "mode", "755")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The magic number of the file system that something is on (statfs(2)).
pub(super) fn file_system(fd: &OwnedFd) -> Result<u64> {
    let stat = rustix::fs::fstatfs(fd).context("examine a place to mount on")?;
    Ok(stat.f_type as u64)
}

/// A machine that hides parts of its own /proc refuses to mount another. The one outside cannot take its
/// place: it has the processes of all others.
fn no_proc() -> CliError {
    CliError::new(format_args!(
        "cannot mount /proc in the container: {}; this machine, or the container that plyfs runs in, hides \
         parts of its own /proc; start that container with --security-opt unmask=ALL (Podman) or \
         --security-opt systempaths=unconfined (Docker)",
        reason(&Errno::PERM)
    ))
}

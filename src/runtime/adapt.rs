//! What other runtimes need otherwise in a configuration, so that a container is what it is by the runtime
//! inside.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::PathBuf;

use oci_spec::runtime::{Mount, MountBuilder, Spec};
use plyfs_sys::mount::{Change, change};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use super::root::{Links, NoPlace, Root, is_in_system};
use crate::error::{Context, Result};

/// Changes a configuration for another runtime. A root that is to be read-only is so as long as the result
/// is kept.
pub(super) fn adapt(spec: &mut Spec, is_crun: bool) -> Result<Option<ReadOnly>> {
    for_libseccomp(spec);
    if let Some(root) = spec.root() {
        require_places(&Root::open(root.path())?, spec)?;
    }
    let read_only = read_only(spec)?;
    if is_crun {
        keep_restrictions(spec)?;
    }
    Ok(read_only)
}

/// Refuses mounts on links of the image that other runtimes follow to the root or to system directories.
pub(crate) fn require_places(root: &Root, spec: &Spec) -> Result {
    for mount in spec.mounts().iter().flatten() {
        let target = mount.destination();
        root.check_place(target)
            .map_err(|error| error.failure(target))?;
    }
    Ok(())
}

/// For programs of 32 bits libseccomp takes a rule for socket(2) for one of socketcall(2) too, and does not
/// look at the family there: what is allowed for one family would be allowed for all, and it refuses rules
/// that differ in nothing else ("file exists"). So other runtimes run programs of the machine's own
/// architecture alone.
pub(crate) fn for_libseccomp(spec: &mut Spec) {
    if let Some(linux) = spec.linux_mut()
        && let Some(seccomp) = linux.seccomp_mut()
    {
        let own = seccomp.architectures().iter().flatten().take(1);
        let own = own.copied().collect();
        seccomp.set_architectures(Some(own));
    }
}

/// A root that is mounted read-only, until this is dropped.
pub(super) struct ReadOnly(Root);

impl Drop for ReadOnly {
    fn drop(&mut self) {
        if let Err(error) = set_read_only(&self.0, false) {
            log::debug!("the root stays read-only: {error}");
        }
    }
}

fn set_read_only(root: &Root, read_only: bool) -> plyfs_sys::Result<()> {
    let read_only = Change {
        read_only: Some(read_only),
        ..Change::default()
    };
    change(root.dir().as_fd(), read_only, false)
}

/// crun and runc make a root read-only by a remount that takes its other attributes away (nodev, so that
/// devices of an image do not open). So it is read-only before they get it, with all places to mount on; what
/// has no place is left out, as by the runtime inside.
fn read_only(spec: &mut Spec) -> Result<Option<ReadOnly>> {
    const DOING: &str = "make the root read-only";
    let Some(configured) = spec.root_mut() else {
        return Ok(None);
    };
    if configured.readonly() != Some(true) {
        return Ok(None);
    }
    configured.set_readonly(Some(false));
    let root = Root::open(configured.path())?;
    let mut absent = HashSet::new();
    let mut covered: Vec<PathBuf> = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let target = mount.destination();
        if target.ancestors().any(|dir| absent.contains(dir)) {
            absent.insert(target.clone());
        }
        // What is mounted before has a place for it, or the runtime makes one.
        if covered.iter().any(|dir| target.starts_with(dir)) {
            continue;
        }
        let links = if is_in_system(target) {
            Links::Refuse
        } else {
            Links::Follow
        };
        match root.place(target, is_dir(mount), links) {
            Ok(_) => covered.push(target.clone()),
            Err(NoPlace::Errno(Errno::ROFS)) => {
                let shown = target.display();
                log::warn!("the image has no {shown}, and is mounted read-only: going on without");
                absent.insert(target.clone());
            }
            Err(error) => return Err(error.failure(target)),
        }
    }
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.retain(|mount| !absent.contains(mount.destination()));
    spec.set_mounts(Some(mounts));
    set_read_only(&root, true).context(DOING)?;
    Ok(Some(ReadOnly(root)))
}

fn is_dir(mount: &Mount) -> bool {
    let is_bind = mount.typ().as_deref().is_none_or(|kind| kind == "bind");
    match mount.source() {
        Some(source) if is_bind => source.is_dir(),
        _ => true,
    }
}

/// crun takes the attributes of the mount of the root away by a remount, so they are set once more with its
/// own mounts.
fn keep_restrictions(spec: &mut Spec) -> Result {
    const DOING: &str = "restrict the root";
    let Some(root) = spec.root().as_ref() else {
        return Ok(());
    };
    let flags = rustix::fs::statvfs(root.path()).context(DOING)?.f_flag;
    let mut options = vec!["remount".to_owned(), "bind".to_owned()];
    for (flag, word) in [
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NOSUID, "nosuid"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
        (StatVfsMountFlags::RDONLY, "ro"),
        (StatVfsMountFlags::NOATIME, "noatime"),
    ] {
        if flags.contains(flag) {
            options.push(word.to_owned());
        }
    }
    let remount = MountBuilder::default()
        // It takes "/" for no path at all.
        .destination("/.")
        .typ("bind")
        .source(root.path().clone())
        .options(options)
        .build()
        .context(DOING)?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.insert(0, remount);
    spec.set_mounts(Some(mounts));
    Ok(())
}

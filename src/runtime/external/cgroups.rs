//! Control groups of version 2 for crun.

use rustix::mount::MountFlags;
use rustix::thread::UnshareFlags;

use crate::error::{Context, Result};
use crate::namespace;

/// Mounts control groups of version 2 where this process sees those of version 1. crun starts no container
/// without them, not even one that uses none. This process has a mount namespace of its own, in which nothing
/// else needs those of version 1.
pub(super) fn unify() -> Result {
    const CGROUPS: &str = "/sys/fs/cgroup";
    const DOING: &str = "show crun control groups of version 2";
    if namespace::has_unified_cgroups() {
        return Ok(());
    }
    // The owner of a cgroup namespace may mount them.
    plyfs_sys::process::unshare(UnshareFlags::NEWCGROUP).context(DOING)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("cgroup2", CGROUPS, "cgroup2", flags, None).context(DOING)
}

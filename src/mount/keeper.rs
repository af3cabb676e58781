//! The process that keeps a mount of the kernel's overlay.
//!
//! The kernel serves such a mount by itself; this process sleeps, and holds what a mount must hold as
//! long as it lives: the lock of its container or directories, so that no other process changes or
//! removes them, and its image, so that `plyfs prune` does not collect it. The process ends when the last mount
//! namespace has let go of the file system, and unmounts when a signal asks it to end.
//!
//! The process is called `plyfs@N`, N being the number of the mount in hexadecimal, and is found by that name.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::CWD;
use rustix::process::{Pid, PidfdFlags};

use super::kernel_overlay;
use crate::error::{Context, Result};
use crate::pidfd;

fn name(mount: u64) -> String {
    // The kernel keeps the first 15 bytes of a name.
    format!("plyfs@{mount:x}")
}

/// Gives this process the name of the keeper of a mount.
pub(crate) fn take_name(mount: u64) -> Result {
    let name = CString::new(name(mount)).context("name the process")?;
    rustix::thread::set_name(&name).context("name the process")
}

/// A descriptor of the process that keeps what is mounted on a path, if this process can see one.
pub(crate) fn of(target: &Path) -> Option<OwnedFd> {
    let mount = kernel_overlay::id_of(CWD, target.to_str()?).ok()?;
    let name = name(mount);
    let is_named = |pid: i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
    };
    let own = rustix::process::geteuid().as_raw();
    let processes = std::fs::read_dir("/proc").ok()?;
    let numbers = processes.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        // Another user can give a process any name, so look at own processes only.
        (entry.metadata().ok()?.uid() == own).then_some(pid)
    });
    numbers.into_iter().find_map(|pid| {
        if !is_named(pid) {
            return None;
        }
        let keeper = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // Look at the name again, since another process may have got the number meanwhile. A process that has
        // ended keeps its name until its parent has waited for it.
        (is_named(pid) && !pidfd::has_ended(&keeper)).then_some(keeper)
    })
}

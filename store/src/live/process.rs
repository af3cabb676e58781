//! Processes and their namespaces, told from later ones.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// A process, told from later ones with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the pid namespace of the process that wrote the record.
    pub pid: i32,
    /// When it was started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start: u64,
}

/// The namespaces of a process: the inode numbers of files in `/proc/PID/ns` (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Its mount namespace.
    pub mnt: u64,
    /// Its user namespace.
    pub user: u64,
    /// Its pid namespace, in which [`ProcessId::pid`] is its number.
    pub pid: u64,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub fn own() -> Result<Self> {
        Self::of(rustix::process::getpid())
    }

    /// The process that has this number now.
    ///
    /// # Errors
    /// Those of reading `/proc`: `NOENT` if there is no such process.
    pub fn of(pid: Pid) -> Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let start = start_time(&path).context("read", &path)?;
        Ok(Self { pid, start })
    }

    /// A descriptor of the process (pidfd_open(2)); `None` if it is gone, or is waited for by its parent only.
    ///
    /// The number must be one of this process's pid namespace: see [`LiveRecord::open_process`](super::LiveRecord::open_process).
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // After opening: the number of a process that is held open may only be another's if it has ended.
        let same = Self::of(pid).is_ok_and(|found| found == *self);
        (same && !has_ended(&process)).then_some(process)
    }
}

/// Whether the process of a descriptor has ended: it is readable then (pidfd_open(2)).
pub(super) fn has_ended(process: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Field 22 of a file `stat` of a process. Field 2, its name, may have spaces and parentheses in it.
pub(super) fn start_time(path: &Path) -> std::io::Result<u64> {
    let stat = std::fs::read(path)?;
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
    let field = after_name.and_then(|rest| rest.split_whitespace().nth(19));
    field
        .and_then(|field| field.parse().ok())
        .ok_or(std::io::ErrorKind::InvalidData.into())
}

impl Namespaces {
    /// Those of this process.
    ///
    /// # Errors
    /// Those of looking into `/proc/self/ns`.
    pub fn own() -> Result<Self> {
        let number = |name: &str| -> Result<u64> {
            let path = Path::new("/proc/self/ns").join(name);
            let stat = rustix::fs::stat(&path).context("examine", &path)?;
            Ok(stat.st_ino)
        };
        Ok(Self {
            mnt: number("mnt")?,
            user: number("user")?,
            pid: number("pid")?,
        })
    }
}

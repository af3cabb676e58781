//! Whether a layer lies in a directory that another mount changes.

use std::path::Path;

use crate::layer::overlap::LayerPath;
use crate::open_error::MountError;

/// Refuses directories that lie in the upper or work directory of another mount of plyfs, which holds a lock on
/// those (flock(2)). The kernel's overlay does so where it keeps an index (`EBUSY`): entries of files that change
/// underneath would lead astray.
pub(super) fn refuse(paths: &[LayerPath]) -> Result<(), MountError> {
    let locks = Lock::all();
    for layer_path in paths {
        // The locks of the upper and work directory themselves are taken when they are opened.
        let skipped = usize::from(layer_path.role != "lower");
        for dir in same_file_system(&layer_path.real).skip(skipped) {
            if is_locked(dir, &locks) {
                return Err(MountError::InUseAbove {
                    role: layer_path.role,
                    path: layer_path.real.clone(),
                    used: dir.to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// A directory and those above it, up to where another file system is mounted.
fn same_file_system(dir: &Path) -> impl Iterator<Item = &Path> {
    let device = |dir: &Path| rustix::fs::stat(dir).ok().map(|stat| stat.st_dev);
    let own = device(dir);
    dir.ancestors()
        .take_while(move |above| own.is_some() && device(above) == own)
}

/// Whether a mount of plyfs holds a lock on a directory.
fn is_locked(dir: &Path, locks: &[Lock]) -> bool {
    let Ok(stat) = rustix::fs::stat(dir) else {
        return false;
    };
    let device = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    let mut on_dir = locks
        .iter()
        .filter(|lock| lock.device == device && lock.inode == stat.st_ino);
    on_dir.any(|lock| may_change(lock.pid, stat.st_uid))
}

/// Whether a process belongs to root, to the owner of a directory, or to the caller. The process of another user
/// does not have the directory for its upper one.
fn may_change(pid: u32, owner: u32) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let user = rustix::fs::stat(format!("/proc/{pid}")).map(|stat| stat.st_uid);
    user.is_ok_and(|user| user == 0 || user == owner || user == own)
}

/// Whether a process runs this program, perhaps of another version.
fn is_plyfs(pid: u32) -> bool {
    let theirs = format!("/proc/{pid}/exe");
    let file = |path: &str| {
        let stat = rustix::fs::stat(path).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    let own = file("/proc/self/exe");
    if own.is_some() && file(&theirs) == own {
        return true;
    }
    let path = std::fs::read_link(theirs).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    // The kernel adds this to the name of a file that was replaced.
    name.strip_suffix(b" (deleted)").unwrap_or(name) == b"plyfs"
}

/// An exclusive lock of flock(2) that a process of plyfs has.
struct Lock {
    pid: u32,
    device: (u32, u32),
    inode: u64,
}

impl Lock {
    /// The locks of all processes of plyfs that this one may look into.
    ///
    /// Any process that may read a directory can lock it, so a lock alone proves nothing: it must be held by this
    /// program. /proc/locks names the process that took a lock, which for a mount is the parent of its daemon and
    /// gone. The locks are read, not tried: a lock taken for a moment would make another mount fail.
    fn all() -> Vec<Self> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| is_plyfs(*pid))
            .flat_map(Self::of)
            .collect()
    }

    /// Those of one process, from /proc/PID/fdinfo (proc_pid_fdinfo(5)).
    pub(crate) fn of(pid: u32) -> Vec<Self> {
        let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
        let files = files.into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let locks = |text: String| -> Vec<Self> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("lock:"));
            lines.filter_map(|line| Self::parse(pid, line)).collect()
        };
        texts.flat_map(locks).collect()
    }

    /// `1: FLOCK  ADVISORY  WRITE 4711 fe:01:131 0 EOF`.
    fn parse(pid: u32, line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, access) = (words.next()?, words.nth(1)?);
        let mut place = words.nth(1)?.split(':');
        let mut number = || u32::from_str_radix(place.next()?, 16).ok();
        let device = (number()?, number()?);
        let inode = place.next()?.parse().ok()?;
        let is_exclusive = kind == "FLOCK" && access == "WRITE";
        is_exclusive.then_some(Self { pid, device, inode })
    }
}

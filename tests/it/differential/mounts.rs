//! A side of the comparison: directories, and the kernel or plyfs mounted over them.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{PidfdFlags, Signal};

use super::layers;
use super::options::OptionSet;
use super::program::{Place, Program};
use crate::support::{daemon_of, is_initial_namespace, plyfs, succeed, text};

/// Who shows the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Kernel,
    Plyfs,
}

/// Where the mount is in the cell, which is what its actors have for a root directory: deep enough
/// that `..` leads to directories of the cell for a while.
pub const MERGED: &str = "/zz/zz/zz/zz/m";

/// The bytes and inodes of a small disk before it is filled.
const WHOLE_DISK: (u64, u64) = (256 << 20, 50_000);

/// Why the layers of a program cannot be made here.
pub fn cannot_make(program: &Program) -> Option<String> {
    let bindfs = || Command::new("bindfs").arg("--version").output();
    let needs = program
        .places
        .iter()
        .any(|(_, place)| *place == Place::Bindfs);
    let error = needs.then(bindfs)?.err()?;
    Some(format!("bindfs: {error}"))
}

/// The directories of one side.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// What the actors cannot leave. There is nothing in it but the mount and `/proc`, so that no
    /// program reaches the layers, the other side, or the machine it runs on.
    cell: PathBuf,
    layers: PathBuf,
    lowers: u8,
    /// What is mounted for this side, but for the mount itself: the last first.
    mounted: Vec<PathBuf>,
    /// Whether all of it lies on a disk that can be filled.
    small: bool,
}

impl Dirs {
    /// Makes the directories below `base`.
    pub fn make(base: &Path, name: &str, program: &Program, opaque: &str) -> Self {
        let mut dirs = Self {
            cell: base.join(name).join("cell"),
            layers: base.join(name).join("layers"),
            lowers: program.lowers.max(1),
            mounted: Vec::new(),
            small: program.small,
        };
        if dirs.small {
            // The cell lies on it as well, where a program may leave the mount: the numbers there are of the
            // same file system.
            let disk = base.join(name);
            fs::create_dir_all(&disk).unwrap();
            let (bytes, inodes) = WHOLE_DISK;
            let limits = format!("size={bytes},nr_inodes={inodes}");
            dirs.mount_memory(disk.clone(), &limits);
            // A disk of no pages is one without a limit.
            fs::write(disk.join("page"), "one page").unwrap();
        }
        let proc = dirs.cell.join("proc");
        for below in [dirs.merged(), dirs.upper(), dirs.work(), proc.clone()] {
            fs::create_dir_all(below).unwrap();
        }
        rustix::mount::mount_bind("/proc", &proc).unwrap();
        dirs.mounted.push(proc);
        for number in 0..dirs.lowers {
            dirs.make_lower(number, program, opaque);
        }
        let inside = layers::build(&dirs.upper(), None, &program.entries, opaque);
        dirs.mounted.extend(inside);
        dirs.mounted.reverse();
        dirs
    }

    fn make_lower(&mut self, number: u8, program: &Program, opaque: &str) {
        let lower = self.lower(number);
        fs::create_dir(&lower).unwrap();
        let mut root = lower.clone();
        match program.place(number) {
            None => {}
            Some(Place::Own) => self.mount_memory(lower.clone(), ""),
            Some(Place::Bindfs) => {
                root = self.layers.join(format!("behind{number}"));
                fs::create_dir(&root).unwrap();
            }
        }
        let inside = layers::build(&root, Some(number), &program.entries, opaque);
        self.mounted.extend(inside);
        if root != lower {
            succeed(Command::new("bindfs").args([&root, &lower]));
            self.mounted.push(lower);
        }
    }

    fn mount_memory(&mut self, at: PathBuf, data: &str) {
        let (flags, data) = (MountFlags::empty(), CString::new(data).unwrap());
        rustix::mount::mount("tmpfs", &at, "tmpfs", flags, &*data).unwrap();
        self.mounted.push(at);
    }

    /// Unmounts what is not the mount itself.
    pub fn leave(&self) {
        for at in &self.mounted {
            rustix::mount::unmount(at, UnmountFlags::DETACH).unwrap();
        }
    }

    /// Leaves so many pages and inodes free on the disk of the layers, or all there were.
    pub fn leave_free(&self, free: Option<(u32, u32)>) {
        if !self.small {
            return;
        }
        let disk = self.cell.parent().unwrap();
        let used = rustix::fs::statvfs(disk).unwrap();
        let (bytes, inodes) = match free {
            None => WHOLE_DISK,
            Some((pages, inodes)) => (
                (used.f_blocks - used.f_bfree + u64::from(pages)) * used.f_frsize,
                used.f_files - used.f_ffree + u64::from(inodes),
            ),
        };
        let data = CString::new(format!("size={bytes},nr_inodes={inodes}")).unwrap();
        // Files that were held open may go at the same time; what they took is free then.
        rustix::mount::mount_remount(disk, MountFlags::empty(), &*data).unwrap();
    }

    pub fn cell(&self) -> &Path {
        &self.cell
    }

    pub fn lower(&self, number: u8) -> PathBuf {
        self.layers.join(format!("l{number}"))
    }

    pub fn lowers(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.lowers).map(|number| self.lower(number))
    }

    pub fn upper(&self) -> PathBuf {
        self.layers.join("u")
    }

    pub fn work(&self) -> PathBuf {
        self.layers.join("w")
    }

    pub fn merged(&self) -> PathBuf {
        self.cell.join(&MERGED[1..])
    }

    fn options(&self, more: &str) -> String {
        let lowers: Vec<_> = self
            .lowers()
            .map(|path| path.display().to_string())
            .collect();
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lowers.join(":"),
            self.upper().display(),
            self.work().display()
        );
        if !more.is_empty() {
            options.push(',');
            options.push_str(more);
        }
        options
    }

    /// Mounts; an error is what the one who should have mounted says.
    pub fn mount(&self, who: Who, set: &OptionSet) -> Result<Mount, String> {
        let user = set.userxattr(is_initial_namespace());
        let more = match who {
            // Even `off` is refused together with userxattr.
            Who::Kernel if user => &set.kernel.replace("redirect_dir=off,", ""),
            Who::Kernel => set.kernel,
            Who::Plyfs => set.plyfs,
        };
        let mut options = self.options(more);
        if user && !more.contains("userxattr") {
            options.push_str(",userxattr");
        }
        // What a volatile mount leaves keeps it from being mounted again.
        fs::remove_dir_all(self.work().join("work/incompat")).ok();
        let mut mount = Mount {
            target: self.merged(),
            daemon: None,
            mounted: true,
        };
        match who {
            Who::Kernel => {
                let data = CString::new(options).unwrap();
                let flags = MountFlags::empty();
                rustix::mount::mount("overlay", &mount.target, "overlay", flags, &*data)
                    .map_err(|error| format!("the kernel cannot mount: {error}"))?;
            }
            Who::Plyfs => {
                let mut command = plyfs(["mount", "-o", &options]);
                let output = command.arg(&mount.target).output().unwrap();
                if !output.status.success() {
                    return Err(format!("plyfs cannot mount: {}", text(&output.stderr)));
                }
                mount.daemon = Some(server_of(&mount.target)?);
            }
        }
        Ok(mount)
    }
}

/// The process that serves a mount.
fn server_of(target: &Path) -> Result<OwnedFd, String> {
    let pid = daemon_of(target)
        .map_err(|error| format!("plyfs mounted, and does not answer: {error}"))?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| format!("plyfs mounted, and is gone: {error}"))
}

/// Something mounted. It is unmounted when it is dropped.
pub struct Mount {
    target: PathBuf,
    daemon: Option<OwnedFd>,
    mounted: bool,
}

impl Mount {
    /// Unmounts, and waits until the layers are free. After a kill nothing is left to wait for.
    pub fn unmount(mut self, killed: bool) -> Result<(), String> {
        let mut flags = UnmountFlags::empty();
        flags.set(UnmountFlags::DETACH, killed);
        rustix::mount::unmount(&self.target, flags)
            .map_err(|error| format!("{} cannot be unmounted: {error}", self.target.display()))?;
        self.mounted = false;
        self.wait()
    }

    /// Kills the daemon, if there is one.
    pub fn kill(&self) -> Result<(), String> {
        if let Some(daemon) = &self.daemon {
            rustix::process::pidfd_send_signal(daemon, Signal::KILL).ok();
        }
        self.wait()
    }

    fn wait(&self) -> Result<(), String> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(daemon) = &self.daemon else {
            return Ok(());
        };
        let patience = Timespec::try_from(Duration::from_secs(20)).unwrap();
        match poll(&mut [PollFd::new(daemon, PollFlags::IN)], Some(&patience)) {
            Ok(0) => Err("the daemon does not end".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            self.kill().ok();
            rustix::mount::unmount(&self.target, UnmountFlags::DETACH).ok();
        }
    }
}

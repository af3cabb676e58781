//! The file systems a container expects around its image: /proc, /sys, /dev and what is kept from it
//! there, in the way of rootless Podman.
//!
//! Everything here is done in the container's own mount namespace, before the container's root
//! becomes the root. The image is not trusted: a path in it is resolved below its root without
//! following links (openat2(2)), and what is mounted goes to the descriptor that gives, not to a
//! path.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use plyfs_sys::mount::restrict_recursively;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::failure::{Doing, Failure, Outcome};

/// Devices that are the same in every container.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links that programs expect in /dev.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// What tells of the machine, and is covered.
const MASKED: [&str; 9] = [
    "proc/acpi",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/fs/selinux",
];

/// What changes the machine, and is made read-only.
const READ_ONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

/// Files of the machine that name resolution in the container needs, since it uses its network.
const SHARED: [&str; 2] = ["etc/resolv.conf", "etc/hosts"];

/// The root of a container that is being set up.
pub(crate) struct Rootfs {
    root: OwnedFd,
    /// Whether directories that the image lacks can be made.
    writable: bool,
}

impl Rootfs {
    /// Opens the root, where the image is mounted.
    pub(crate) fn open(path: &Path, writable: bool) -> Outcome<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty());
        let root = root.doing(format_args!("open {}", path.display()))?;
        Ok(Self { root, writable })
    }

    /// Mounts everything.
    pub(crate) fn populate(&self) -> Outcome {
        self.mount_proc()?;
        self.mount_sys()?;
        self.mount_dev()?;
        for path in SHARED {
            self.share(path);
        }
        for path in READ_ONLY {
            self.make_read_only(path);
        }
        for path in MASKED {
            self.mask(path);
        }
        Ok(())
    }

    /// Makes it the root of this process, and the former root unreachable (pivot_root(2)).
    pub(crate) fn enter(self) -> Outcome {
        rustix::process::fchdir(&self.root).doing("change to the container's root")?;
        rustix::process::pivot_root(".", ".").doing("change the root")?;
        // Now the former root is stacked on the new one.
        rustix::mount::unmount(".", UnmountFlags::DETACH).doing("leave the former root")?;
        rustix::process::chdir("/").doing("change to /")
    }

    fn mount_proc(&self) -> Outcome {
        let Some(target) = self.directory("proc")? else {
            return Ok(());
        };
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        match mount_at(&target, "proc", "proc", flags, "") {
            // A machine that hides parts of its own /proc lets nobody mount another.
            Err(Errno::PERM) => {
                log::warn!("cannot mount /proc here; the container sees the one outside");
                bind(Path::new("/proc"), &target, true).doing("bind /proc")
            }
            other => other.doing("mount /proc"),
        }
    }

    fn mount_sys(&self) -> Outcome {
        let Some(target) = self.directory("sys")? else {
            return Ok(());
        };
        let flags =
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        match mount_at(&target, "sysfs", "sysfs", flags, "") {
            // Only who owns the network may, and that is the machine's.
            Err(Errno::PERM) => {
                bind(Path::new("/sys"), &target, true).doing("bind /sys")?;
                let Some(mounted) = self.resolve("sys") else {
                    return Ok(());
                };
                restrict_recursively(mounted.as_fd()).doing("make /sys read-only")
            }
            other => other.doing("mount /sys"),
        }
    }

    fn mount_dev(&self) -> Outcome {
        let Some(target) = self.directory("dev")? else {
            return Ok(());
        };
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount_at(&target, "tmpfs", "tmpfs", flags, "mode=755,size=64m").doing("mount /dev")?;
        let dev = self
            .resolve("dev")
            .ok_or_else(|| Failure::new("cannot open /dev"))?;
        for device in DEVICES {
            bind_device(&dev, device)?;
        }
        for (to, name) in LINKS {
            rustix::fs::symlinkat(to, &dev, name).doing(format_args!("make /dev/{name}"))?;
        }
        for (name, kind, data) in [
            ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620"),
            ("shm", "tmpfs", "mode=1777,size=64m"),
            ("mqueue", "mqueue", ""),
        ] {
            rustix::fs::mkdirat(&dev, name, 0o755.into())
                .doing(format_args!("make /dev/{name}"))?;
            let target = open_below(&dev, name).doing(format_args!("open /dev/{name}"))?;
            let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
            let flags = flags.difference(match kind {
                "devpts" => MountFlags::NODEV,
                _ => MountFlags::empty(),
            });
            match mount_at(&target, kind, kind, flags, data) {
                // A kernel without message queues is no reason to fail.
                Err(Errno::NODEV) => log::debug!("this kernel has no {kind}"),
                other => other.doing(format_args!("mount /dev/{name}"))?,
            }
        }
        Ok(())
    }

    /// Shows a file of the machine in the container, if the image has a place for it.
    fn share(&self, path: &str) {
        let source = Path::new("/").join(path);
        let Some(target) = self.place_for(path) else {
            return log::debug!("the image has no place for {}", source.display());
        };
        if let Err(error) = bind(&source, &target, false) {
            return log::debug!("cannot show {}: {error}", source.display());
        }
        self.make_read_only(path);
    }

    /// A file to mount on, made if it is not there. Links inside the image are followed as if its
    /// root were the root.
    fn place_for(&self, path: &str) -> Option<OwnedFd> {
        let open = |flags| {
            let flags = flags | OFlags::CLOEXEC;
            rustix::fs::openat2(&self.root, path, flags, 0o644.into(), ResolveFlags::IN_ROOT)
        };
        match open(OFlags::PATH) {
            Err(Errno::NOENT) if self.writable => {
                open(OFlags::CREATE | OFlags::WRONLY).ok()?;
                open(OFlags::PATH).ok()
            }
            other => other.ok(),
        }
    }

    fn make_read_only(&self, path: &str) {
        let Some(target) = self.resolve(path) else {
            return;
        };
        // Only the root of a mount can be changed, so it is made one.
        let path_there = proc_path(&target);
        let made = bind(Path::new(&path_there), &target, true).and_then(|()| {
            let mounted = self.resolve(path).ok_or(Errno::NOENT)?;
            let flags = MountFlags::BIND
                | MountFlags::RDONLY
                | MountFlags::NOSUID
                | MountFlags::NODEV
                | MountFlags::NOEXEC;
            rustix::mount::mount_remount(proc_path(&mounted), flags, c"")
        });
        if let Err(error) = made {
            log::debug!("cannot make /{path} read-only: {error}");
        }
    }

    fn mask(&self, path: &str) {
        let Some(target) = self.resolve(path) else {
            return;
        };
        let is_dir = rustix::fs::fstat(&target)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
        let masked = if is_dir {
            mount_at(&target, "tmpfs", "tmpfs", MountFlags::RDONLY, "size=0k")
        } else {
            bind(Path::new("/dev/null"), &target, false)
        };
        if let Err(error) = masked {
            log::debug!("cannot mask /{path}: {error}");
        }
    }

    /// A directory to mount on, made if it is not there. `None`, with a warning, if it can be
    /// neither opened nor made.
    fn directory(&self, name: &str) -> Outcome<Option<OwnedFd>> {
        let open = || open_below(&self.root, name);
        let opened = match open() {
            Err(Errno::NOENT) if self.writable => {
                let made = rustix::fs::mkdirat(&self.root, name, 0o755.into());
                made.doing(format_args!("make /{name} in the container"))?;
                open()
            }
            other => other,
        };
        match opened {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => {
                log::warn!("the image has no /{name}, and is mounted read-only: going on without");
                Ok(None)
            }
            Err(Errno::LOOP | Errno::NOTDIR) => Err(Failure::new(format_args!(
                "/{name} is no directory in this image"
            ))),
            Err(error) => Err(error).doing(format_args!("open /{name} in the container")),
        }
    }

    /// A path below the root, without following links; `None` if it cannot be opened.
    fn resolve(&self, path: &str) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve).ok()
    }
}

fn open_below(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Puts a device of the machine into the container's /dev.
fn bind_device(dev: &OwnedFd, name: &str) -> Outcome {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let target = rustix::fs::openat(dev, name, flags, 0o666.into());
    let target = target.doing(format_args!("make /dev/{name}"))?;
    let source = Path::new("/dev").join(name);
    bind(&source, &target, false).doing(format_args!("show {} in the container", source.display()))
}

fn mount_at(
    target: &OwnedFd,
    source: &str,
    kind: &str,
    flags: MountFlags,
    data: &str,
) -> rustix::io::Result<()> {
    let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(source, proc_path(target), kind, flags, &*data)
}

fn bind(source: &Path, target: &OwnedFd, recursively: bool) -> rustix::io::Result<()> {
    if recursively {
        rustix::mount::mount_bind_recursive(source, proc_path(target))
    } else {
        rustix::mount::mount_bind(source, proc_path(target))
    }
}

/// The path that leads to what a descriptor is of.
fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

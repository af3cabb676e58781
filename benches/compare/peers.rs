//! The file systems that are compared, and mounting them.
//!
//! Each is started as a user would start it, by one command that returns when the mount can be used.
//! The kernel's overlay has no such command that takes hundreds of layers everywhere, so this program
//! is its own: started with [`MOUNT_KERNEL`] it mounts and ends, as mount(8) would.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

/// The first argument of this program when it is to mount the kernel's overlay.
pub const MOUNT_KERNEL: &str = "__mount-kernel";

/// The same for the server that measures what FUSE costs.
pub const MOUNT_FLOOR: &str = "__mount-floor";

/// Who serves a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Kernel,
    Plyfs,
    FuseOverlayfs,
    /// A server that only answers: see `floor.rs`.
    Floor,
}

/// One of the file systems that are compared.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it is called in tables and in JSON.
    pub name: &'static str,
    pub kind: Kind,
    /// The command that mounts it.
    pub program: PathBuf,
    /// What it says of itself.
    pub version: String,
}

/// The plyfs that is measured.
pub fn plyfs_program() -> PathBuf {
    let given = std::env::var_os("PLYFS_BENCH_PLYFS").map(PathBuf::from);
    given.unwrap_or_else(|| env!("CARGO_BIN_EXE_plyfs").into())
}

/// All peers that can be used here, and why the others cannot.
pub fn find() -> (Vec<Peer>, Vec<String>) {
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    peers.push(Peer {
        name: "kernel",
        kind: Kind::Kernel,
        program: std::env::current_exe().unwrap(),
        version: format!(
            "Linux {}",
            rustix::system::uname().release().to_string_lossy()
        ),
    });
    peers.push(Peer {
        name: "floor",
        kind: Kind::Floor,
        program: std::env::current_exe().unwrap(),
        version: "FUSE alone: answers from memory, no layers".to_owned(),
    });
    let home = std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
    let second = home.join(".cargo/bin/fuse-overlayfs");
    let program = |variable: &str, default: PathBuf| {
        std::env::var_os(variable).map_or(default, PathBuf::from)
    };
    let others = [
        ("plyfs", Kind::Plyfs, plyfs_program(), "cargo build"),
        (
            "fuse-overlayfs 1",
            Kind::FuseOverlayfs,
            program(
                "PLYFS_BENCH_FUSE_OVERLAYFS",
                "/usr/bin/fuse-overlayfs".into(),
            ),
            "install the distribution's package, or name it in PLYFS_BENCH_FUSE_OVERLAYFS",
        ),
        (
            "fuse-overlayfs 2",
            Kind::FuseOverlayfs,
            program("PLYFS_BENCH_FUSE_OVERLAYFS2", second),
            "cargo install fuse-overlayfs, or name it in PLYFS_BENCH_FUSE_OVERLAYFS2",
        ),
    ];
    for (name, kind, program, remedy) in others {
        match version(&program) {
            Ok(version) => peers.push(Peer {
                name,
                kind,
                program,
                version,
            }),
            Err(error) => missing.push(format!("{name}: {}: {error}; {remedy}", program.display())),
        }
    }
    (peers, missing)
}

fn version(program: &Path) -> io::Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("overlayfs"));
    let line = line.or_else(|| said.lines().next());
    Ok(line.unwrap_or("of no known version").trim().to_owned())
}

/// What is mounted.
#[derive(Debug)]
pub struct Stack<'s> {
    /// Topmost first.
    pub lowers: &'s [PathBuf],
    /// A directory of its own for the mount, which gets `upper`, `work` and `merged`.
    pub dir: PathBuf,
    /// Mount options besides those that name directories.
    pub options: &'s [&'s str],
    /// Whether overlay records go into `user.*` attributes.
    pub userxattr: bool,
}

/// A mount, and the directories made for it. Dropping it takes both away.
#[derive(Debug)]
pub struct Mounted {
    pub merged: PathBuf,
    /// How long the command took that mounted it.
    pub took: Duration,
    dir: PathBuf,
}

impl Peer {
    /// Mounts a stack.
    ///
    /// # Errors
    /// What the command says that mounts, in one line.
    pub fn mount(&self, stack: &Stack<'_>) -> Result<Mounted, String> {
        for name in ["upper", "work", "merged"] {
            let path = stack.dir.join(name);
            std::fs::create_dir_all(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let mut mounted = Mounted {
            merged: stack.dir.join("merged"),
            took: Duration::ZERO,
            dir: stack.dir.clone(),
        };
        let mut command = self.command(stack, &mounted.merged);
        let error_file = stack.dir.join("stderr");
        let stderr = std::fs::File::create(&error_file).map_err(|error| error.to_string())?;
        // To a file: a daemon that kept a pipe open would be waited for.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let start = Instant::now();
        let status = command
            .status()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        mounted.took = start.elapsed();
        if status.success() {
            return Ok(mounted);
        }
        let said = std::fs::read_to_string(&error_file).unwrap_or_default();
        Err(said.lines().next_back().unwrap_or("failed").to_owned())
    }

    fn command(&self, stack: &Stack<'_>, merged: &Path) -> Command {
        let mut command = Command::new(&self.program);
        let (upper, work) = (stack.dir.join("upper"), stack.dir.join("work"));
        if self.kind == Kind::Kernel {
            command.arg(MOUNT_KERNEL).arg(merged).arg(upper).arg(work);
            let flag = stack.userxattr.then_some("userxattr");
            let options: Vec<&str> = stack.options.iter().copied().chain(flag).collect();
            command.arg(options.join(",")).args(stack.lowers);
            return command;
        }
        if self.kind == Kind::Floor {
            command.arg(MOUNT_FLOOR).arg(merged);
            return command;
        }
        let paths: Vec<_> = stack.lowers.iter().map(|path| path.display()).collect();
        let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={}",
            paths.join(":"),
            upper.display(),
            work.display()
        );
        for option in stack.options {
            options.push(',');
            options.push_str(option);
        }
        if self.kind == Kind::Plyfs {
            command.arg("mount").env("PLYFS_BACKEND", "fuse");
        }
        command.arg("-o").arg(options).arg(merged);
        command
    }
}

/// Mounts the kernel's overlay: target, upper directory, work directory, options, lower directories.
///
/// # Errors
/// Those of the system calls for it.
pub fn mount_kernel(arguments: &[std::ffi::OsString]) -> io::Result<()> {
    let [target, upper, work, options, lowers @ ..] = arguments else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &OsStr| {
        rustix::mount::fsconfig_set_string(&context, key, value)
            .map_err(|error| io::Error::other(format!("{key}={}: {error}", value.display())))
    };
    // One by one: together they are more than a page, which is all that mount(2) takes.
    for lower in lowers {
        set("lowerdir+", lower)?;
    }
    set("upperdir", upper)?;
    set("workdir", work)?;
    let options = options.to_string_lossy();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => set(key, value.as_ref())?,
            None => rustix::mount::fsconfig_set_flag(&context, option)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    let mount = rustix::mount::fsmount(&context, flags, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mount, "", CWD, target, flags)?;
    Ok(())
}

impl Mounted {
    /// The daemon that serves it, if there is one.
    pub fn daemon(&self) -> Option<i32> {
        processes_naming(&self.merged).into_iter().next()
    }

    fn unmount(&self) {
        let daemon = self.daemon();
        for attempt in 0.. {
            // What was started on the mount may take a moment to end.
            let flags = match attempt {
                0..100 => UnmountFlags::NOFOLLOW,
                _ => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
            };
            match rustix::mount::unmount(&self.merged, flags) {
                Err(rustix::io::Errno::BUSY) if attempt < 100 => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => break,
            }
        }
        // It may still be writing, and would take time from the next.
        let start = Instant::now();
        while daemon.is_some_and(is_alive) && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount();
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// The processes with an argument that begins with this path, or has it as part of an option.
pub fn processes_naming(path: &Path) -> Vec<i32> {
    let wanted = path.as_os_str().as_encoded_bytes();
    let own = std::process::id().cast_signed();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let names = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(wanted.len()).any(|window| window == wanted)
    };
    numbers.filter(|pid| *pid != own).filter(names).collect()
}

fn is_alive(pid: i32) -> bool {
    // The command line of a process that has ended and is not waited for is empty.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

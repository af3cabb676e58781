//! File systems of their own for a test, on loop devices. Only root has those.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{is_initial_namespace, succeed, text};

/// How a file system is made and mounted.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    size: u64,
    make: &'static [&'static str],
    options: &'static str,
}

pub const EXT4: Kind = Kind {
    name: "ext4",
    size: 64 << 20,
    make: &["-q", "-b", "4096", "-E", "lazy_itable_init=0"],
    options: "loop",
};

/// Its smallest is 300 MB. Copies are of one file system, which it refuses to mount twice.
pub const XFS: Kind = Kind {
    name: "xfs",
    size: 320 << 20,
    make: &["-q"],
    options: "loop,nouuid",
};

pub const BTRFS: Kind = Kind {
    name: "btrfs",
    size: 128 << 20,
    make: &["-q"],
    options: "loop",
};

impl Kind {
    /// Why there cannot be one here.
    pub fn cannot(&self) -> Option<String> {
        if !is_initial_namespace() {
            return Some("only root has loop devices".to_owned());
        }
        if !Path::new("/dev/loop-control").exists() {
            return Some("there are no loop devices".to_owned());
        }
        let tool = format!("mkfs.{}", self.name);
        if Command::new(&tool).arg("-V").output().is_err() {
            return Some(format!("there is no {tool}"));
        }
        let known = fs::read_to_string("/proc/filesystems").unwrap();
        let is_known = known.lines().any(|line| line.trim() == self.name);
        (!is_known).then(|| format!("this kernel has no {}", self.name))
    }

    /// Makes an image of it.
    pub fn make(&self, image: &Path, more: &[&str]) {
        let file = File::create(image).unwrap();
        file.set_len(self.size).unwrap();
        let mut make = Command::new(format!("mkfs.{}", self.name));
        succeed(make.args(self.make).args(more).arg(image));
    }

    /// Mounts an image. The loop device goes with the mount.
    pub fn mount(&self, image: &Path, at: &Path) {
        succeed(self.mount_command("").arg(image).arg(at));
    }

    fn mount_command(&self, more: &str) -> Command {
        let mut command = Command::new("mount");
        let options = format!("{}{more}", self.options);
        command.args(["-t", self.name, "-o", &options]);
        command
    }
}

/// One that is mounted as long as this lives.
#[derive(Debug)]
pub struct FileSystem {
    tmp: tempfile::TempDir,
}

impl FileSystem {
    pub fn new(kind: &Kind) -> Self {
        Self::try_new(kind, &[], "").unwrap()
    }

    /// One with more options for mkfs and for mount, which the kernel may not have; an error is what
    /// mount says.
    pub fn try_new(kind: &Kind, make: &[&str], mount: &str) -> Result<Self, String> {
        let tmp = tempfile::tempdir().unwrap();
        let (image, at) = (tmp.path().join("image"), tmp.path().join("fs"));
        kind.make(&image, make);
        fs::create_dir(&at).unwrap();
        let output = kind.mount_command(mount).arg(image).arg(at).output();
        let output = output.unwrap();
        match output.status.success() {
            true => Ok(Self { tmp }),
            false => Err(text(&output.stderr)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()),
        }
    }

    /// A copy of one, from its image.
    pub fn copy_of(kind: &Kind, image: &Path) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let (copy, at) = (tmp.path().join("image"), tmp.path().join("fs"));
        let mut cp = Command::new("cp");
        succeed(cp.arg("--sparse=always").arg(image).arg(&copy));
        fs::create_dir(&at).unwrap();
        kind.mount(&copy, &at);
        Self { tmp }
    }

    pub fn path(&self) -> PathBuf {
        self.tmp.path().join("fs")
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH);
        assert!(gone.is_ok() || std::thread::panicking());
    }
}

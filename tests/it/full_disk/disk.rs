//! Small disks that are filled to a chosen byte, or at a chosen moment.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::file_system::{EXT4, FileSystem};
use crate::support::succeed;

/// What a disk of a test is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// ext4 on a loop device.
    Ext4,
    /// A tmpfs with a size and a number of inodes.
    Memory,
}

/// What a moment starts from: the same store each time.
#[derive(Debug)]
pub struct Template {
    medium: Medium,
    tmp: tempfile::TempDir,
}

impl Template {
    /// Makes one; `fill` writes what is on the disk.
    pub fn new(medium: Medium, fill: impl FnOnce(&Path)) -> Self {
        let template = Self {
            medium,
            tmp: tempfile::tempdir().unwrap(),
        };
        let (image, at) = (template.image(), template.tree());
        fs::create_dir(&at).unwrap();
        if medium == Medium::Ext4 {
            EXT4.make(&image, &[]);
            EXT4.mount(&image, &at);
        }
        fill(&at);
        if medium == Medium::Ext4 {
            succeed(Command::new("umount").arg(&at));
        }
        template
    }

    fn image(&self) -> PathBuf {
        self.tmp.path().join("image")
    }

    fn tree(&self) -> PathBuf {
        self.tmp.path().join("tree")
    }

    /// A disk with what is in the template.
    pub fn disk(&self) -> Disk {
        let disk = match self.medium {
            Medium::Ext4 => Disk::Ext4(FileSystem::copy_of(&EXT4, &self.image())),
            Medium::Memory => Disk::Memory(Memory::copy_of(&self.tree())),
        };
        // While there is an inode for it.
        File::create(disk.path().join("filler")).unwrap();
        disk
    }
}

/// A tmpfs, mounted as long as this lives.
#[derive(Debug)]
pub struct Memory(tempfile::TempDir);

impl Memory {
    fn copy_of(tree: &Path) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m,nr_inodes=6000", "none"]);
        succeed(mount.arg(tmp.path()));
        let mut cp = Command::new("cp");
        succeed(cp.arg("-a").arg(tree.join(".")).arg(tmp.path()));
        Self(tmp)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
        assert!(gone.is_ok() || std::thread::panicking());
    }
}

/// A disk of one moment.
#[derive(Debug)]
pub enum Disk {
    Ext4(FileSystem),
    Memory(Memory),
}

impl Disk {
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Ext4(disk) => disk.path(),
            Self::Memory(memory) => memory.0.path().to_owned(),
        }
    }

    /// The bytes that are free.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bfree * stat.f_frsize
    }

    /// The inodes that are free.
    pub fn free_inodes(&self) -> u64 {
        rustix::fs::statvfs(self.path()).unwrap().f_ffree
    }

    /// Takes space until no more than this is free.
    pub fn leave(&self, bytes: u64) {
        self.sync();
        let file = self.filler();
        for step in [1 << 20, 64 << 10, 4096] {
            while self.free() >= bytes.saturating_add(step) && grow(&file, step) {}
        }
        self.sync();
    }

    /// Takes inodes until no more than this are free.
    pub fn leave_inodes(&self, inodes: u64) {
        let dir = self.path().join("inodes");
        fs::create_dir_all(&dir).unwrap();
        let mut number = fs::read_dir(&dir).unwrap().count();
        while self.free_inodes() > inodes && File::create(dir.join(number.to_string())).is_ok() {
            number += 1;
        }
    }

    /// Takes all space, whatever else is written meanwhile.
    pub fn take_all(&self) {
        let file = self.filler();
        for step in [1 << 20, 64 << 10, 4096] {
            while grow(&file, step) {}
        }
    }

    /// Gives back all that was taken.
    pub fn give_back(&self) {
        self.filler().set_len(0).unwrap();
        fs::remove_dir_all(self.path().join("inodes")).unwrap_or_default();
        self.sync();
    }

    /// Writes all that is only in memory, so that what is free is known.
    pub fn sync(&self) {
        rustix::fs::syncfs(File::open(self.path()).unwrap()).unwrap_or_default();
    }

    fn filler(&self) -> File {
        let mut options = File::options();
        let path = self.path().join("filler");
        options.append(true).open(path).unwrap()
    }
}

/// Makes a file larger, with blocks of its own; whether there was space.
fn grow(file: &File, step: u64) -> bool {
    let end = file.metadata().unwrap().len();
    let flags = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(file.as_fd(), flags, end, step).is_ok()
}

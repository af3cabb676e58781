//! File systems to measure on.
//!
//! All of it lives below one directory with a name of its own, in a mount namespace of its own. Dropping
//! a [`FileSystem`] unmounts it; a loop device goes with its mount.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags};

/// Room for two large files and for what is copied up of them.
const IMAGE_SIZE: u64 = 6 << 30;

/// A file system made for measuring.
#[derive(Debug)]
pub struct FileSystem {
    pub at: PathBuf,
    image: Option<PathBuf>,
}

impl FileSystem {
    /// Makes a file system of a kind and mounts it below `scratch`.
    ///
    /// # Errors
    /// Why it cannot be had, in one line.
    pub fn new(kind: &str, scratch: &Path) -> Result<Self, String> {
        let at = scratch.join(kind);
        let text = |error: &dyn std::fmt::Display| format!("{kind}: {error}");
        fs::create_dir_all(&at).map_err(|error| text(&error))?;
        if kind == "tmpfs" {
            rustix::mount::mount("bench", &at, "tmpfs", MountFlags::empty(), c"mode=0755")
                .map_err(|error| text(&error))?;
            return Ok(Self { at, image: None });
        }
        let image = scratch.join(format!("{kind}.img"));
        let file = fs::File::create(&image).map_err(|error| text(&error))?;
        file.set_len(IMAGE_SIZE).map_err(|error| text(&error))?;
        let made = Self {
            at,
            image: Some(image.clone()),
        };
        run(
            OsStr::new(&format!("mkfs.{kind}")),
            &["-q".as_ref(), image.as_ref()],
        )?;
        let at = made.at.as_os_str();
        run(
            "mount".as_ref(),
            &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at],
        )?;
        Ok(made)
    }
}

fn run(program: &OsStr, arguments: &[&OsStr]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", program.display(), said.trim()))
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.at, UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.at.display());
        }
        if let Some(image) = &self.image {
            drop(fs::remove_file(image));
        }
    }
}

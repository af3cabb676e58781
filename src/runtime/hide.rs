//! What of the machine is covered or made read-only (config-linux.md, "Masked Paths", "Readonly Paths").

use std::os::fd::OwnedFd;
use std::path::Path;

use plyfs_sys::mount::Change;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::devices;
use super::mounts::{attach, clone_of, empty_directory};
use super::root::{Links, Root};
use crate::error::{Doing, Outcome};

/// Covers paths: files by /dev/null, directories by an empty one.
pub(super) fn mask(root: &Root, paths: &[String]) -> Outcome {
    for path in paths {
        let Some(found) = find(root, path)? else {
            continue;
        };
        let doing = format!("cover {path} in the container");
        let stat = rustix::fs::fstat(&found).doing(&doing)?;
        let cover = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            empty_directory().doing(&doing)?
        } else {
            devices::null()?
        };
        attach(&cover, &found).doing(doing)?;
    }
    Ok(())
}

/// Makes paths read-only, with all that is mounted below.
pub(super) fn make_read_only(root: &Root, paths: &[String]) -> Outcome {
    for path in paths {
        let Some(found) = find(root, path)? else {
            continue;
        };
        let doing = format!("make {path} read-only in the container");
        let restricted = clone_of(&found, Change::RESTRICT, true).doing(&doing)?;
        attach(&restricted, &found).doing(doing)?;
    }
    Ok(())
}

/// What is to be hidden; nothing where the machine does not have it.
fn find(root: &Root, path: &str) -> Outcome<Option<OwnedFd>> {
    match root.find(Path::new(path), Links::Refuse) {
        Ok(found) => Ok(Some(found)),
        // In an image without the file system that has it, a link or a file is the image's own.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno).doing(format_args!("open {path} in the container")),
    }
}

//! What of the machine is covered or made read-only (config-linux.md, "Masked Paths", "Readonly Paths").

use std::os::fd::OwnedFd;
use std::path::Path;

use plyfs_sys::mount::Change;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::devices;
use super::mounts::{attach, clone_of, empty_directory};
use super::root::{Links, Root};
use crate::error::{Context, Result};

/// Covers paths: files by /dev/null, directories by an empty one.
pub(super) fn mask(root: &Root, paths: &[String]) -> Result {
    for path in paths {
        let Some(found) = find(root, path)? else {
            continue;
        };
        let action = format!("cover {path} in the container");
        let stat = rustix::fs::fstat(&found).context(&action)?;
        let cover = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            empty_directory().context(&action)?
        } else {
            devices::null()?
        };
        attach(&cover, &found).context(action)?;
    }
    Ok(())
}

/// Makes paths read-only, with all that is mounted below.
pub(super) fn make_read_only(root: &Root, paths: &[String]) -> Result {
    for path in paths {
        let Some(found) = find(root, path)? else {
            continue;
        };
        let action = format!("make {path} read-only in the container");
        let restricted = clone_of(&found, Change::RESTRICT, true).context(&action)?;
        attach(&restricted, &found).context(action)?;
    }
    Ok(())
}

/// What is to be hidden; nothing where the machine does not have it.
fn find(root: &Root, path: &str) -> Result<Option<OwnedFd>> {
    match root.find(Path::new(path), Links::Refuse) {
        Ok(found) => Ok(Some(found)),
        // In an image without the file system that has it, a link or a file is the image's own.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno).context(format_args!("open {path} in the container")),
    }
}

//! The directory to mount on.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::error::{CliError, Context, Result};
use crate::mount::fuse_mount;

/// The directory to mount on, without links. With `replace`, unmounts file systems there whose
/// daemons have ended.
pub(crate) fn mount_point(path: &Path, replace: bool) -> Result<PathBuf> {
    let action = format!("mount on {}", path.display());
    let real = match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CliError::new(format_args!(
                "cannot {action}: there is no such directory; make it first"
            )));
        }
        found => found.context(&action)?,
    };
    while is_dead(&real) {
        if !replace {
            return Err(CliError::new(format_args!(
                "cannot mount on {}: the daemon of the file system that is mounted there has ended; take that \
                 away with \"plyfs umount {}\", or with \"plyfs mount --replace\"",
                path.display(),
                path.display()
            )));
        }
        // Detach it (lazily): a program that still uses it does not keep the new mount from being made.
        fuse_mount::unmount(&real, true)?;
    }
    let found = rustix::fs::stat(&real).context(&action)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Ok(real);
    }
    Err(CliError::new(format_args!(
        "cannot mount on {}: it is no directory",
        path.display()
    )))
}

/// Whether a FUSE file system is mounted on a path whose daemon has ended. The kernel may still know what stat(2)
/// shows; statfs(2) asks the daemon.
fn is_dead(path: &Path) -> bool {
    rustix::fs::statfs(path).err() == Some(rustix::io::Errno::NOTCONN)
}

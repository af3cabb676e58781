//! Whether a layer lies in a directory that another mount changes.

use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::apart::Spot;
use crate::error::{Errno, MountError};

/// Refuses directories that lie in the upper or work directory of another mount of plyfs, which holds a lock on
/// those (flock(2)). The kernel's overlay does so where it keeps an index (`EBUSY`): entries of files that change
/// underneath would lead astray.
pub(crate) fn refuse(spots: &[Spot]) -> Result<(), MountError> {
    for spot in spots {
        // The locks of the upper and work directory themselves are taken when they are opened.
        let skipped = usize::from(spot.role != "lower");
        for dir in same_file_system(&spot.real).skip(skipped) {
            if is_locked(dir) {
                return Err(MountError::InUseAbove {
                    role: spot.role,
                    path: spot.real.clone(),
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

fn is_locked(dir: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open(dir, flags, Mode::empty()) else {
        return false;
    };
    // Shared, and given back at once.
    let lock = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared);
    lock == Err(Errno::WOULDBLOCK)
}

//! Directories and files that a container gets only to be mounted on. In one that is kept they would become
//! part of what was changed, and of an image that is made of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::runtime::root::{Links, Root};

/// Places that the image does not have.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeSet<PathBuf>);

impl Places {
    /// The places of the mounts of a configuration that are missing, with the directories above them.
    pub(super) fn missing(root: &Root, spec: &Spec) -> Self {
        let mut missing = BTreeSet::new();
        for mount in spec.mounts().iter().flatten() {
            let destination = root.destination(mount.destination());
            let above = destination.ancestors();
            let absent = above.take_while(|path| {
                path.parent().is_some()
                    && root.find(path, Links::Follow).err() == Some(Errno::NOENT)
            });
            missing.extend(absent.map(Path::to_owned));
        }
        Self(missing)
    }

    /// Removes those that are there now, as far as they are empty. The container has ended, and links in it
    /// lead nowhere outside.
    pub(super) fn remove(&self, root: &Path) {
        if self.0.is_empty() {
            return;
        }
        let Ok(root) = Root::open(root) else { return };
        // What is inside comes before what it is in.
        for path in self.0.iter().rev() {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let Ok(parent) = root.find(parent, Links::Refuse) else {
                continue;
            };
            let found = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = found else { continue };
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            let flags = match (kind.is_dir(), kind.is_file() && stat.st_size == 0) {
                (true, _) => AtFlags::REMOVEDIR,
                (false, true) => AtFlags::empty(),
                (false, false) => continue,
            };
            if let Err(error) = rustix::fs::unlinkat(&parent, name, flags) {
                log::debug!("{} stays in the container: {error}", path.display());
            }
        }
    }
}

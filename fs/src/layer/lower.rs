//! Opened layers: the directories a stack is made of.
//!
//! A lower layer never changes while it is mounted and is never written to: its directories are
//! opened with `O_PATH`, its files `O_RDONLY`, and nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Statx;
use rustix::mount::OpenTreeFlags;

use crate::config::override_stat_mode::OverrideStatMode;
use crate::config::{LowerLayer, XattrTrust};
use crate::disk::calls::{device_of, stat_fd};
use crate::layer::overlap::LayerPath;
use crate::open_error::MountError;
use crate::types::Device;

/// An opened layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) path: PathBuf,
    /// Its file system, if that can be told.
    pub(crate) device: Option<Device>,
    /// The id of the mount that `root` is of (statx(2)); 0 if the kernel does not tell.
    pub(crate) mount: u64,
    /// Which of its files may carry `override_stat` records.
    pub(crate) records: OverrideStatMode,
    /// Which records of overlays count in it.
    pub(crate) marks: XattrTrust,
    /// Whether whiteouts may be files in it.
    pub(crate) archive_names: bool,
}

impl Layer {
    /// Opens a lower layer. Besides, where it is.
    pub(crate) fn open_lower(
        layer: &LowerLayer,
    ) -> std::result::Result<(Self, LayerPath), MountError> {
        let (root, layer_path) = LayerPath::open("lower", &layer.path)?;
        let root = without_inner_mounts(root);
        let stat = stat_fd(root.as_fd()).ok();
        let layer = Self {
            device: stat.as_ref().map(device_of),
            mount: stat.map_or(0, |stat| stat.stx_mnt_id),
            root: Arc::new(root),
            path: layer.path.clone(),
            records: layer.records,
            marks: layer.marks,
            archive_names: layer.archive_names,
        };
        Ok((layer, layer_path))
    }
}

impl Layer {
    /// Whether an object in this layer lies on a file system that is mounted inside the layer. Such mounts show
    /// only where [`without_inner_mounts`] is not allowed.
    pub(crate) fn is_mounted_inside(&self, stat: &Statx) -> bool {
        stat.stx_mnt_id != self.mount
    }
}

/// The same directory in a mount of its own, without what is mounted inside it (open_tree(2)). The kernel's
/// overlay clones the mounts of its layers in this way, and shows what lies below.
///
/// It takes `CAP_SYS_ADMIN` over the mount namespace. In a user namespace the kernel also refuses to uncover
/// what a mount of an outer namespace hides. The directory is then used as it is.
fn without_inner_mounts(dir: OwnedFd) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    match rustix::mount::open_tree(&dir, c"", flags) {
        Ok(clone) => {
            // A clone of a shared mount would share what is mounted there later.
            if let Err(errno) = plyfs_sys::mount::make_private(clone.as_fd()) {
                log::debug!("the mount of a lower directory is not private: {errno}");
            }
            clone
        }
        Err(errno) => {
            log::debug!("mounts inside a lower directory stay visible: open_tree(2): {errno}");
            dir
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_is_missing_or_no_directory_is_an_error() {
        let tmp = tempfile::tempdir().unwrap();
        let missing = tmp.path().join("missing");
        let error = Layer::open_lower(&LowerLayer::new(&missing)).err().unwrap();
        assert_eq!(error.errno(), crate::Errno::NOENT);
        assert!(error.to_string().contains("missing"), "{error}");
        std::fs::write(&missing, "").unwrap();
        let error = Layer::open_lower(&LowerLayer::new(&missing)).err().unwrap();
        assert_eq!(error.errno(), crate::Errno::NOTDIR);
    }
}

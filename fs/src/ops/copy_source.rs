//! The lower object that a copy-up reads.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::{OFlags, Statx};

use crate::Overlay;
use crate::disk::calls::{self, stat_fd};
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::layer::lower_dir::LowerFile;
use crate::layer::override_stat;
use crate::layer::xattr_names::Naming;
use crate::types::{Attr, FileKind};

/// A lower object that is being copied.
pub(super) struct Source {
    /// Open for reading if it is a regular file, else `O_PATH`.
    pub(super) fd: Arc<OwnedFd>,
    /// Where the data of a regular file is.
    pub(super) data: Option<LowerFile>,
    /// Whether that is another file.
    pub(super) is_metacopy: bool,
    pub(super) stat: Statx,
    /// Whether it has other names that are to stay one file with it, which the index sees to.
    pub(super) is_linked: bool,
    /// Whether it lies on a file system mounted inside its layer, where other paths may lead to it too.
    pub(super) is_mounted_inside: bool,
    /// What it shows, owners as they are recorded.
    pub(super) attr: Attr,
    /// How the attributes of its layer are named.
    pub(super) naming: Naming,
}

impl Overlay {
    pub(super) fn open_source(&self, node: &Node) -> Result<Source> {
        // Readers of the file, and the check whether this is slow, have it open.
        let open = match node.kind {
            FileKind::Regular if !node.is_metacopy() => Some(self.open_for_reading(node)?),
            _ => None,
        };
        let object = self.locate(node)?;
        if self.lowers_change {
            // The copy would hide what is there now.
            self.check_in_place(node, &object, calls::stat(object.at()))?;
        }
        let elsewhere = object.metacopy_data();
        let fd = match (open, object.at()) {
            (Some(open), _) if elsewhere.is_none() => open,
            (_, at) if node.kind == FileKind::Regular => {
                Arc::new(self.fds.open(|| calls::open(at, OFlags::RDONLY))?)
            }
            // An `O_PATH` descriptor of the object itself.
            (_, At::Fd(fd)) => Arc::new(fd.try_clone_to_owned().map_err(|_| Errno::MFILE)?),
            (_, at) => Arc::new(self.fds.open(|| calls::open(at, OFlags::PATH))?),
        };
        let stat = stat_fd(fd.as_fd())?;
        let attr = override_stat::recorded_attr_of(At::Fd(fd.as_fd()), &stat, object.records)?;
        if attr.kind != node.kind {
            // Its layer was changed since it was looked up.
            return Err(decided(Errno::STALE));
        }
        let is_mounted_inside = stat.stx_mnt_id != object.mount;
        Ok(Source {
            fd,
            is_linked: !node.kind.is_dir() && stat.stx_nlink > 1 && !is_mounted_inside,
            is_mounted_inside,
            is_metacopy: elsewhere.is_some(),
            data: elsewhere.or(object.lower_file()),
            stat,
            attr,
            naming: self.naming(&object),
        })
    }
}

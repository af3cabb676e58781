//! Whether a change would copy so much that it takes a while.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use crate::Overlay;
use crate::disk::calls::{device_of, read_in_memory, stat_fd};
use crate::error::Result;
use crate::inode::node::Node;
use crate::types::{Change, Extent, FileKind};

/// Whether a file of this size can be read without waiting for a disk: its last byte can, at least.
fn is_in_memory(file: BorrowedFd<'_>, size: u64) -> bool {
    let last = size.checked_sub(1);
    last.is_none_or(|last| read_in_memory(file, last, &mut [0]) == Ok(1))
}

/// The largest file whose data is copied by the thread that serves lookups meanwhile, in bytes.
pub(super) const SMALL: u64 = 64 << 10;

impl Overlay {
    /// Whether copying up so much of this regular file of a lower layer is not expected to wait for a disk,
    /// and takes no longer than giving the work to another thread.
    fn copies_at_once(&self, node: &Node, extent: Extent) -> bool {
        let Some(upper) = &self.upper else {
            // It is refused.
            return true;
        };
        let needs_no_disk = self.volatile || upper.in_memory;
        if node.in_upper() || !needs_no_disk && !upper.shares_at_once.load(Ordering::Relaxed) {
            return false;
        }
        let is_at_hand = || -> Result<bool> {
            let file = self.open_for_reading(node)?;
            let stat = stat_fd(file.as_fd())?;
            let is_near = upper.device == device_of(&stat);
            let shares = match extent {
                Extent::Before(end) => end == 0 || end >= stat.stx_size,
                Extent::Whole | Extent::None => true,
            };
            Ok(stat.stx_size <= SMALL
                // Part of a file is not shared, nor anything with another file system.
                && (needs_no_disk || is_near && shares)
                && (upper.in_memory && is_near || is_in_memory(file.as_fd(), stat.stx_size)))
        };
        is_at_hand().unwrap_or(false)
    }

    /// Whether changing this node would copy a regular file's data first, which may take a while.
    pub fn is_slow_to_change(&self, id: u64, change: Change) -> bool {
        let extent = match change {
            Change::Attributes => self.least_extent(),
            Change::Data => Extent::Whole,
            Change::Size(size) => Extent::Before(size),
        };
        self.nodes.get(id).is_some_and(|node| {
            extent != Extent::None
                && node.kind == FileKind::Regular
                && !node.is_copied(extent)
                && !self.copies_at_once(&node, extent)
        })
    }

    /// How much of a file is copied up to change its attributes.
    pub(super) fn least_extent(&self) -> Extent {
        if self.metacopy {
            Extent::None
        } else {
            Extent::Whole
        }
    }
}

//! Layers that change underneath the mount, which a finite `timeout=` allows for
//! ([`Config::lowers_change`](crate::Config::lowers_change)).
//!
//! Then nothing that was learned of a layer holds for the next request: each lookup searches the layers,
//! each reading of a directory merges it once more, and a node is looked at before it is used for what
//! was found. A node that no longer fits keeps its id and its open files, but is found by no lookup;
//! the name gets another node, so that the kernel sees another file.
//!
//! A file is opened in its layer when the kernel opens it, and the descriptor is kept. If it had to go, and the name
//! leads to another file by now, the open file is `STALE`, as one of a network file system that was replaced.

use std::sync::Arc;

use rustix::fs::Statx;

use crate::Overlay;
use crate::error::{Errno, Result, decided};
use crate::inode::dir::Names;
use crate::inode::listing::Listing;
use crate::inode::node::Node;
use crate::overlay::locate::ObjectRef;

impl Overlay {
    /// The listing of a directory, if it was made and tells what the layers hold.
    pub(crate) fn listing_of<'n>(&self, names: &'n Names) -> Option<&'n Listing> {
        names.listing.as_ref().filter(|_| !self.lowers_change)
    }

    /// Makes the listing of a directory agree with its layers. Readers that are in the middle of it go on
    /// behind the same entry.
    pub(crate) fn renew_listing(&self, node: &Arc<Node>) -> Result<()> {
        if !self.lowers_change {
            return Ok(());
        }
        let mut names = node.dir()?.names.write();
        self.list_locked(node, &mut names).map(drop)
    }

    /// Checks that what was found where a file of a lower layer lies is that file.
    ///
    /// # Errors
    /// `STALE` if it was replaced.
    pub(crate) fn check_in_place(
        &self,
        node: &Node,
        object: &ObjectRef<'_>,
        found: Result<Statx>,
    ) -> Result<Statx> {
        if !self.lowers_change || object.in_upper || node.kind.is_dir() {
            return found;
        }
        match found {
            Ok(stat) if self.nodes.shown(node.id) == Some(self.object_of(&stat)) => Ok(stat),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(decided(Errno::STALE)),
            Err(errno) => Err(errno),
        }
    }
}

//! Nodes that an operation looks up for itself, and forgets at its end.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::Overlay;
use crate::error::Result;
use crate::inode::dir::Names;
use crate::inode::listing::EntryInfo;
use crate::inode::node::Node;

/// A looked-up node that is forgotten again at the end of an operation.
pub(super) struct LookupGuard<'o> {
    overlay: &'o Overlay,
    pub(super) node: Arc<Node>,
}

impl<'o> LookupGuard<'o> {
    /// Takes over one lookup of a node.
    pub(super) fn new(overlay: &'o Overlay, node: Arc<Node>) -> Self {
        Self { overlay, node }
    }
}

impl Drop for LookupGuard<'_> {
    fn drop(&mut self) {
        self.overlay.forget(self.node.id, 1);
    }
}

impl Overlay {
    /// The node under a name, for the length of an operation.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub(super) fn hold(&self, parent: &Arc<Node>, name: &OsStr) -> Result<LookupGuard<'_>> {
        let names = parent.dir()?.names.read();
        self.hold_locked(parent, &names, name)
    }

    /// As [`hold`](Self::hold), for a caller that holds the namespace lock.
    pub(super) fn hold_locked(
        &self,
        parent: &Arc<Node>,
        names: &Names,
        name: &OsStr,
    ) -> Result<LookupGuard<'_>> {
        if let Some(held) = self.known_here(parent, names, name) {
            return Ok(held);
        }
        let (node, _) = self.lookup_locked(parent, names, name)?;
        Ok(LookupGuard::new(self, node))
    }

    /// The node under a name, if the listing leads to it. No system call is made: what is known of a name
    /// under its lock is so.
    fn known_here(
        &self,
        parent: &Arc<Node>,
        names: &Names,
        name: &OsStr,
    ) -> Option<LookupGuard<'_>> {
        let known = self.listing_of(names)?.known(name)?;
        let EntryInfo::Object(number, _) = known else {
            return None;
        };
        let held = LookupGuard::new(self, self.nodes.find_once_more(number)?);
        held.node.is_at(parent, name).then_some(held)
    }
}

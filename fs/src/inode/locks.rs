//! Taking several locks at once, in the order that every thread keeps (see [`node`](super::node)).

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;

use crate::error::{Errno, Result, decided};
use crate::inode::dir::Names;
use crate::inode::node::{Node, Place};

/// Takes the places of two nodes for writing, in the order of their ids.
pub(crate) fn lock_places<'n>(
    one: &'n Node,
    other: Option<&'n Node>,
) -> (
    RwLockWriteGuard<'n, Place>,
    Option<RwLockWriteGuard<'n, Place>>,
) {
    match other {
        Some(other) if other.id < one.id => {
            let second = other.place.write();
            (one.place.write(), Some(second))
        }
        other => {
            let first = one.place.write();
            (first, other.map(|other| other.place.write()))
        }
    }
}

/// Takes the namespace locks of several directories for writing, in the order of their ids, each
/// once.
///
/// # Errors
/// `NOTDIR` if one is no directory.
pub(crate) fn lock_names<'n>(dirs: &[&'n Arc<Node>]) -> Result<NameLocks<'n>> {
    let mut sorted: Vec<&'n Arc<Node>> = dirs.to_vec();
    sorted.sort_by_key(|node| node.id);
    sorted.dedup_by_key(|node| node.id);
    let locks = sorted
        .into_iter()
        .map(|node| Ok((node.id, node.dir()?.names.write())))
        .collect::<Result<Vec<_>>>()?;
    Ok(NameLocks(locks))
}

/// Namespace locks held for writing.
pub(crate) struct NameLocks<'n>(Vec<(u64, RwLockWriteGuard<'n, Names>)>);

impl NameLocks<'_> {
    /// The names of one of the directories that were locked.
    ///
    /// # Errors
    /// `IO` if it is not among them, which would be a fault of the caller.
    pub(crate) fn of(&mut self, node: &Node) -> Result<&mut Names> {
        self.0
            .iter_mut()
            .find(|(id, _)| *id == node.id)
            .map(|(_, names)| &mut **names)
            .ok_or_else(|| decided(Errno::IO))
    }
}

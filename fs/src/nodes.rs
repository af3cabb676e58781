//! The table of known nodes.
//!
//! A node is known under its id from the lookup that first gave it out until the last of its
//! lookups is forgotten, and as long as a known node lies below it. The table also finds a node by
//! what makes it this node and no other, its [`Identity`]. Usually that is the object it shows, the
//! id is derived from the object, and one map serves both; where it is not (after a copy-up, or when
//! a derived number was taken), an alias tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::inode::Node;
use crate::layer::Name;
use crate::number::{ObjectId, ROOT_ID, dynamic};

const SHARDS: usize = 16;

/// What makes a node this one and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// The object it shows: all names of the object lead to the same node.
    Object(ObjectId),
    /// The object, and one of its names in a directory (by node id). So it is with a file that has
    /// several names in a lower layer: a copy-up under one of them leaves the others as they are, so
    /// that each is a file of its own that only looks like one with the others.
    Link(ObjectId, u64, Name),
}

impl Identity {
    fn object(&self) -> ObjectId {
        match self {
            Self::Object(object) | Self::Link(object, ..) => *object,
        }
    }

    /// The id that follows from the identity.
    fn id(&self) -> Option<u64> {
        match self {
            Self::Object(object) => object.derived(),
            Self::Link(..) => None,
        }
    }
}

#[derive(Debug)]
struct Slot {
    node: Arc<Node>,
    identity: Identity,
}

/// The table. All methods may be called by many threads.
#[derive(Debug, Default)]
pub(crate) struct NodeTable {
    shards: [Mutex<HashMap<u64, Slot>>; SHARDS],
    /// Identities whose node's id does not follow from them. Taken before a shard.
    aliases: Mutex<HashMap<Identity, u64>>,
    /// How many aliases there are, so that the usual case, none, takes no lock.
    alias_count: AtomicUsize,
    next_dynamic: AtomicU64,
}

impl NodeTable {
    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Slot>> {
        &self.shards[id as usize % SHARDS]
    }

    /// The node with this id.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Node>> {
        self.shard(id).lock().get(&id).map(|slot| slot.node.clone())
    }

    /// The object that a known node shows.
    pub(crate) fn object(&self, id: u64) -> Option<ObjectId> {
        let shard = self.shard(id).lock();
        shard.get(&id).map(|slot| slot.identity.object())
    }

    /// The node that shows this object, if it is known, and the only one to show it.
    pub(crate) fn find(&self, object: ObjectId) -> Option<Arc<Node>> {
        let identity = Identity::Object(object);
        identity
            .id()
            .and_then(|id| self.get_if(id, &identity, 0))
            .or_else(|| {
                let id = self.alias_of(&identity)?;
                self.get_if(id, &identity, 0)
            })
    }

    /// The node with this identity, counted as looked up once more. It is made with `make`, which is
    /// given its id, if it is not known yet.
    pub(crate) fn obtain(
        &self,
        identity: Identity,
        make: impl FnOnce(u64) -> Arc<Node>,
    ) -> Arc<Node> {
        if let Some(id) = identity.id()
            && self.alias_count.load(Ordering::Acquire) == 0
        {
            let mut shard = self.shard(id).lock();
            match shard.get(&id) {
                Some(slot) if slot.identity == identity => return count(&slot.node),
                Some(_) => {}
                None => {
                    let node = make(id);
                    let slot = Slot {
                        node: node.clone(),
                        identity,
                    };
                    shard.insert(id, slot);
                    return count(&node);
                }
            }
        }
        self.obtain_slowly(identity, make)
    }

    /// As [`obtain`](Self::obtain), when there are aliases or the id that would follow is taken.
    fn obtain_slowly(&self, identity: Identity, make: impl FnOnce(u64) -> Arc<Node>) -> Arc<Node> {
        let mut aliases = self.aliases.lock();
        let known = aliases.get(&identity).copied().into_iter();
        for id in known.chain(identity.id()) {
            if let Some(node) = self.get_if(id, &identity, 1) {
                return node;
            }
        }
        let id = identity
            .id()
            .filter(|id| !self.shard(*id).lock().contains_key(id))
            .unwrap_or_else(|| {
                let id = dynamic(self.next_dynamic.fetch_add(1, Ordering::Relaxed));
                aliases.insert(identity.clone(), id);
                self.alias_count.store(aliases.len(), Ordering::Release);
                id
            });
        let node = make(id);
        let slot = Slot {
            node: node.clone(),
            identity,
        };
        self.shard(id).lock().insert(id, slot);
        count(&node)
    }

    /// The node with this id if it has this identity, looked up `lookups` times more.
    fn get_if(&self, id: u64, identity: &Identity, lookups: u64) -> Option<Arc<Node>> {
        let shard = self.shard(id).lock();
        let slot = shard.get(&id).filter(|slot| slot.identity == *identity)?;
        slot.node.lookups.fetch_add(lookups, Ordering::Relaxed);
        Some(slot.node.clone())
    }

    fn alias_of(&self, identity: &Identity) -> Option<u64> {
        if self.alias_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.aliases.lock().get(identity).copied()
    }

    /// Puts in the root, which is never forgotten.
    pub(crate) fn insert_root(&self, node: Arc<Node>, object: ObjectId) {
        let slot = Slot {
            node,
            identity: Identity::Object(object),
        };
        self.shard(ROOT_ID).lock().insert(ROOT_ID, slot);
    }

    /// Says that a node shows another object from now on: it was copied up.
    ///
    /// The caller excludes lookups of the name under which it does.
    pub(crate) fn rebind(&self, node: &Node, object: ObjectId) {
        let identity = Identity::Object(object);
        let mut aliases = self.aliases.lock();
        let former = {
            let mut shard = self.shard(node.id).lock();
            let Some(slot) = shard.get_mut(&node.id) else {
                return;
            };
            std::mem::replace(&mut slot.identity, identity.clone())
        };
        if let (Identity::Link(..), Some(ino)) = (&former, object.derived()) {
            // It is no longer one with the other names, and must not look so.
            node.ino.store(ino, Ordering::Relaxed);
        }
        aliases.remove(&former);
        if identity.id() != Some(node.id) {
            aliases.insert(identity, node.id);
        }
        self.alias_count.store(aliases.len(), Ordering::Release);
    }

    /// Takes back `count` lookups of a node. Returns the nodes that are unknown now: that one, and
    /// ancestors that were known only because of it.
    pub(crate) fn forget(&self, id: u64, count: u64) -> Vec<Arc<Node>> {
        let mut gone = Vec::new();
        let mut next = self.remove_if_unused(id, count);
        while let Some(node) = next {
            let former = node.place.write().set_parent(None);
            next = former.and_then(|parent| self.remove_if_unused(parent.id, 0));
            gone.push(node);
        }
        gone
    }

    fn remove_if_unused(&self, id: u64, forgotten: u64) -> Option<Arc<Node>> {
        if id == ROOT_ID {
            return None;
        }
        let slot = {
            let mut shard = self.shard(id).lock();
            let node = &shard.get(&id)?.node;
            let left = node
                .lookups
                .load(Ordering::Relaxed)
                .saturating_sub(forgotten);
            node.lookups.store(left, Ordering::Relaxed);
            if left > 0 || node.children.load(Ordering::Relaxed) > 0 {
                return None;
            }
            shard.remove(&id)?
        };
        if slot.identity.id() != Some(id) {
            let mut aliases = self.aliases.lock();
            // Another node may have come to this identity in the meantime.
            if aliases.get(&slot.identity) == Some(&id) {
                aliases.remove(&slot.identity);
            }
            self.alias_count.store(aliases.len(), Ordering::Release);
        }
        Some(slot.node)
    }

    /// How many nodes are known.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// Counts one lookup; the caller holds the lock of the node's shard, or is the only one to know it.
fn count(node: &Arc<Node>) -> Arc<Node> {
    node.lookups.fetch_add(1, Ordering::Relaxed);
    node.clone()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::attr::{Device, FileKind};
    use crate::inode::{Place, Real};
    use crate::number::Numbering;

    fn object(ino: u64) -> ObjectId {
        Numbering::default().object(Device::default(), ino)
    }

    fn one(ino: u64) -> Identity {
        Identity::Object(object(ino))
    }

    fn node(id: u64, parent: Option<Arc<Node>>) -> Arc<Node> {
        let place = Place {
            parent,
            name: Name::from(OsStr::new("n")),
            real: Real::Upper,
        };
        Node::new(id, id, FileKind::Directory, place, Vec::new())
    }

    #[test]
    fn one_object_has_one_node_until_it_is_forgotten() {
        let table = NodeTable::default();
        let first = table.obtain(one(10), |id| node(id, None));
        let second = table.obtain(one(10), |id| node(id, None));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.id, 10);
        assert!(table.forget(10, 1).is_empty());
        assert!(table.get(10).is_some());
        assert_eq!(table.forget(10, 1).len(), 1);
        assert!(table.get(10).is_none());
    }

    #[test]
    fn a_copied_up_node_keeps_its_id_and_is_found_by_its_new_object() {
        let table = NodeTable::default();
        let lower = table.obtain(one(10), |id| node(id, None));
        table.rebind(&lower, object(20));
        let upper = table.obtain(one(20), |id| node(id, None));
        assert!(Arc::ptr_eq(&lower, &upper));
        assert!(table.find(object(10)).is_none());

        // Another name of the lower file is another file now, and needs another number.
        let other = table.obtain(one(10), |id| node(id, None));
        assert_ne!(other.id, 10);
        let again = table.obtain(one(10), |id| node(id, None));
        assert!(Arc::ptr_eq(&other, &again));

        table.forget(other.id, 2);
        table.forget(10, 2);
        assert_eq!(table.len(), 0);
        assert_eq!(table.alias_count.load(Ordering::Relaxed), 0);
        assert_eq!(table.obtain(one(20), |id| node(id, None)).id, 20);
    }

    #[test]
    fn a_directory_is_known_as_long_as_something_below_it_is() {
        let table = NodeTable::default();
        let top = table.obtain(one(10), |id| node(id, None));
        let middle = table.obtain(one(11), |id| node(id, Some(top.clone())));
        table.obtain(one(12), |id| node(id, Some(middle.clone())));
        assert!(table.forget(10, 1).is_empty());
        assert!(table.forget(11, 1).is_empty());
        assert_eq!(table.forget(12, 1).len(), 3);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn names_of_a_lower_hard_link_are_nodes_of_their_own() {
        let table = NodeTable::default();
        let link = |name: &str| Identity::Link(object(10), ROOT_ID, Name::from(OsStr::new(name)));
        let a = table.obtain(link("a"), |id| node(id, None));
        let b = table.obtain(link("b"), |id| node(id, None));
        let a_again = table.obtain(link("a"), |id| node(id, None));
        assert!(Arc::ptr_eq(&a, &a_again));
        assert_ne!(a.id, b.id);
        table.rebind(&a, object(20));
        assert_eq!(a.ino.load(Ordering::Relaxed), 20);
        assert!(Arc::ptr_eq(&a, &table.find(object(20)).unwrap()));
        assert!(table.find(object(10)).is_none());
    }

    #[test]
    fn objects_without_a_number_of_their_own_get_one() {
        let table = NodeTable::default();
        let first = table.obtain(one(1), |id| node(id, None));
        let same = table.obtain(one(1), |id| node(id, None));
        let large = table.obtain(one(u64::MAX), |id| node(id, None));
        assert!(Arc::ptr_eq(&first, &same));
        assert_ne!(first.id, ROOT_ID);
        assert_ne!(first.id, large.id);
    }
}

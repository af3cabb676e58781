//! The table of known nodes.
//!
//! A node is known under its id from the lookup that first gave it out until the last of its
//! lookups is forgotten, and as long as a known node lies below it. The table also finds a node by
//! what makes it this node and no other, its [`Identity`]. Usually that is the object its number
//! comes from, the id is derived from the object too, and one map serves both; where it is not (a
//! copy that keeps no origin, or a derived number that was taken), an alias tells.
//!
//! The object a number comes from need not be the one that is shown: a copy has the number of its
//! origin. Records of origins can be wrong, when an upper layer was copied by hand; so a node is
//! only ever found for the object that it shows.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::disk::hash::NumberHash;
use crate::inode::node::Node;
use crate::layer::lower::Name;
use crate::layer::object_id::{ObjectId, ROOT_ID, dynamic};

const SHARDS: usize = 16;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NameIn {
    /// The node id of the directory.
    dir: u64,
    name: Name,
}

impl NameIn {
    pub(crate) fn new(dir: &Node, name: &Name) -> Self {
        Self {
            dir: dir.id,
            name: name.clone(),
        }
    }
}

/// What makes a node this one and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// The object its number comes from: itself, or its origin.
    Object(ObjectId),
    /// The object, and one of its names in a directory (by node id). So it is with a file that has
    /// several names in a lower layer: a copy-up under one of them leaves the others as they are, so
    /// that each is a file of its own that only looks like one with the others.
    Link(Box<(ObjectId, NameIn)>),
    /// The object, and the only path to it. So it is with what has the number of another file at another path,
    /// of which neither has a second name.
    Path(Box<(ObjectId, NameIn)>),
    /// An object whose number is another node's.
    Own(ObjectId),
}

impl Identity {
    fn object(&self) -> ObjectId {
        match self {
            Self::Object(object) | Self::Own(object) => *object,
            Self::Link(known) | Self::Path(known) => known.0,
        }
    }

    /// The id that follows from the identity.
    fn id(&self) -> Option<u64> {
        match self {
            Self::Object(object) => object.derived(),
            Self::Link(_) | Self::Path(_) | Self::Own(_) => None,
        }
    }

    /// The id that a node gets if it is free. One of several names of a lower file gets the number of
    /// the file: a lookup has one number for both, and the kernel asks for nothing more.
    fn wanted_id(&self) -> Option<u64> {
        match self {
            Self::Link(link) => link.0.derived(),
            _ => self.id(),
        }
    }
}

#[derive(Debug)]
struct Slot {
    node: Arc<Node>,
    identity: Identity,
    /// What it shows.
    object: ObjectId,
}

impl Slot {
    fn is(&self, identity: &Identity, object: ObjectId) -> bool {
        self.identity == *identity && self.object == object
    }
}

/// A part of the table: slots by the ids of their nodes.
#[derive(Debug, Default)]
struct Shard(HashTable<Slot>);

impl Shard {
    fn get(&self, id: u64) -> Option<&Slot> {
        self.0.find(hash(id), |slot| slot.node.id == id)
    }

    fn get_mut(&mut self, id: u64) -> Option<&mut Slot> {
        self.0.find_mut(hash(id), |slot| slot.node.id == id)
    }

    /// Puts in a node that is not there.
    fn insert(&mut self, slot: Slot) {
        let rehash = |slot: &Slot| hash(slot.node.id);
        self.0.insert_unique(hash(slot.node.id), slot, rehash);
    }

    fn remove(&mut self, id: u64) -> Option<Slot> {
        let entry = self
            .0
            .find_entry(hash(id), |slot| slot.node.id == id)
            .ok()?;
        let slot = entry.remove().0;
        // What many nodes needed is given back when few are left.
        if self.0.capacity() > 1024 && self.0.len() < self.0.capacity() / 8 {
            self.0
                .shrink_to(2 * self.0.len(), |slot| hash(slot.node.id));
        }
        Some(slot)
    }
}

fn hash(id: u64) -> u64 {
    NumberHash::default().hash_one(id)
}

/// The table. All methods may be called by many threads.
#[derive(Debug, Default)]
pub(crate) struct NodeTable {
    shards: [Mutex<Shard>; SHARDS],
    /// Identities whose node's id does not follow from them. Taken before a shard.
    aliases: Mutex<HashMap<Identity, u64>>,
    /// How many aliases there are, so that the usual case, none, takes no lock.
    alias_count: AtomicUsize,
    /// Whether any node was ever known by its path, so that a search of the aliases for one is worth its time.
    has_paths: std::sync::atomic::AtomicBool,
    next_dynamic: AtomicU64,
}

impl NodeTable {
    fn shard(&self, id: u64) -> &Mutex<Shard> {
        &self.shards[id as usize % SHARDS]
    }

    /// The node with this id.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Node>> {
        self.shard(id).lock().get(id).map(|slot| slot.node.clone())
    }

    /// The object that the number of a known node comes from.
    pub(crate) fn number(&self, id: u64) -> Option<ObjectId> {
        let shard = self.shard(id).lock();
        shard.get(id).map(|slot| slot.identity.object())
    }

    /// The object that a known node shows, or of a directory that its number comes from. That of a node that was
    /// [parted](Self::part_with) with is none.
    pub(crate) fn shown(&self, id: u64) -> Option<ObjectId> {
        self.shard(id).lock().get(id).map(|slot| slot.object)
    }

    /// Whether a known node has the number of another object than it shows: of its origin.
    pub(crate) fn has_origin(&self, id: u64) -> bool {
        let shard = self.shard(id).lock();
        let slot = shard.get(id);
        slot.is_some_and(|slot| slot.identity.object() != slot.object)
    }

    /// The node whose number comes from this object, if it is known.
    pub(crate) fn find(&self, number: ObjectId) -> Option<Arc<Node>> {
        self.find_with(number, Arc::clone)
    }

    /// As [`find`](Self::find), counted as looked up once more.
    pub(crate) fn find_once_more(&self, number: ObjectId) -> Option<Arc<Node>> {
        self.find_with(number, count)
    }

    /// Calls `take` with the node whose number comes from this object, under the lock of its shard.
    fn find_with<T>(&self, number: ObjectId, take: impl Fn(&Arc<Node>) -> T) -> Option<T> {
        let identity = Identity::Object(number);
        let with = |id: u64| {
            let shard = self.shard(id).lock();
            let slot = shard.get(id).filter(|slot| slot.identity == identity)?;
            Some(take(&slot.node))
        };
        let derived = identity.id().and_then(with);
        derived.or_else(|| self.alias_of(&identity).and_then(with))
    }

    /// The node with this identity that shows this object, counted as looked up once more. It is made
    /// with `make`, which is given its id, if it is not known yet. A node that is known by its path, `at`, comes
    /// before all others.
    pub(crate) fn obtain(
        &self,
        identity: Identity,
        at: &NameIn,
        object: ObjectId,
        make: impl Fn(u64) -> Arc<Node>,
    ) -> Arc<Node> {
        let has_aliases = || self.alias_count.load(Ordering::Acquire) > 0;
        let mut aliases = match identity.id() {
            Some(id) if !has_aliases() => {
                match self.obtain_with_id(id, &identity, object, has_aliases, &make) {
                    Some(node) => return node,
                    None => self.aliases.lock(),
                }
            }
            _ => self.aliases.lock(),
        };
        let by_path = Identity::Path(Box::new((identity.object(), at.clone())));
        if let Some(id) = aliases.get(&by_path)
            && let Some(node) = self.get_if(*id, &by_path, object)
        {
            return node;
        }
        self.obtain_slowly(&mut aliases, identity, object, make)
    }

    /// The node that is known by its path, because another node is known by its number, counted as looked up once
    /// more. It is made with `make` if it is not known yet.
    pub(crate) fn obtain_at_path(
        &self,
        number: ObjectId,
        at: NameIn,
        object: ObjectId,
        make: impl Fn(u64) -> Arc<Node>,
    ) -> Arc<Node> {
        self.has_paths.store(true, Ordering::Release);
        let identity = Identity::Path(Box::new((number, at)));
        self.obtain_slowly(&mut self.aliases.lock(), identity, object, make)
    }

    /// The node with this id, if it is free or the node's own. `None` also if it is free and `is_late`, which is
    /// asked when no other can come to this id any more.
    fn obtain_with_id(
        &self,
        id: u64,
        identity: &Identity,
        object: ObjectId,
        is_late: impl FnOnce() -> bool,
        make: impl Fn(u64) -> Arc<Node>,
    ) -> Option<Arc<Node>> {
        let mut shard = self.shard(id).lock();
        match shard.get(id) {
            Some(slot) if slot.is(identity, object) => Some(count(&slot.node)),
            Some(_) => None,
            // It may have been known, and another have been told from it by its path, in the meantime.
            None if is_late() => None,
            None => {
                let node = make(id);
                let slot = Slot {
                    node: node.clone(),
                    identity: identity.clone(),
                    object,
                };
                shard.insert(slot);
                Some(count(&node))
            }
        }
    }

    /// As [`obtain`](Self::obtain), when there are aliases or the id that would follow is taken.
    fn obtain_slowly(
        &self,
        aliases: &mut HashMap<Identity, u64>,
        identity: Identity,
        object: ObjectId,
        make: impl Fn(u64) -> Arc<Node>,
    ) -> Arc<Node> {
        let own = Identity::Own(object);
        // A copy without an origin is known by itself, whatever number it has.
        let itself = Identity::Object(object);
        let mut candidates = [Some(&identity), Some(&itself), Some(&own)];
        if matches!(identity, Identity::Link(_) | Identity::Path(_)) {
            // What is known by the object alone is another path's.
            candidates[1..].fill(None);
        }
        for identity in candidates.into_iter().flatten() {
            let known = aliases.get(identity).copied().into_iter();
            for id in known.chain(identity.id()) {
                if let Some(node) = self.get_if(id, identity, object) {
                    return node;
                }
            }
        }
        // A lookup that found no aliases may have just put it in.
        let with_id = |id| self.obtain_with_id(id, &identity, object, || false, &make);
        if let Some(id) = identity.wanted_id()
            && let Some(node) = with_id(id)
        {
            if identity.id() != Some(id) {
                aliases.insert(identity, id);
                self.alias_count.store(aliases.len(), Ordering::Release);
            }
            return node;
        }
        let id = dynamic(self.next_dynamic.fetch_add(1, Ordering::Relaxed));
        // The number may be in use, which is no reason to confuse the two.
        let taken = aliases.contains_key(&identity) || self.has(&identity);
        let identity = if taken { own } else { identity };
        aliases.insert(identity.clone(), id);
        self.alias_count.store(aliases.len(), Ordering::Release);
        let node = make(id);
        if taken && let Some(ino) = object.derived() {
            // Programs take two names with one number for one file (cp -a of an upper layer makes some).
            node.ino.store(ino, Ordering::Relaxed);
        }
        let slot = Slot {
            node: node.clone(),
            identity,
            object,
        };
        self.shard(id).lock().insert(slot);
        count(&node)
    }

    /// Whether the node with the id that follows from an identity has it.
    fn has(&self, identity: &Identity) -> bool {
        identity.id().is_some_and(|id| {
            let shard = self.shard(id).lock();
            shard.get(id).is_some_and(|slot| slot.identity == *identity)
        })
    }

    /// The node with this id if it has this identity and shows this object, looked up once more.
    fn get_if(&self, id: u64, identity: &Identity, object: ObjectId) -> Option<Arc<Node>> {
        let shard = self.shard(id).lock();
        let slot = shard.get(id).filter(|slot| slot.is(identity, object))?;
        Some(count(&slot.node))
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
            object,
        };
        self.shard(ROOT_ID).lock().insert(slot);
    }

    /// Says that a node shows another object from now on: it was copied up. `has_origin` says that the
    /// copy will be found to have the number that the node has.
    ///
    /// The caller excludes lookups of the name under which it does.
    pub(crate) fn rebind(&self, node: &Node, object: ObjectId, has_origin: bool) {
        let mut aliases = self.aliases.lock();
        let identity = Identity::Object(object);
        let former = {
            let mut shard = self.shard(node.id).lock();
            let Some(slot) = shard.get_mut(node.id) else {
                return;
            };
            slot.object = object;
            if has_origin && matches!(slot.identity, Identity::Object(_)) {
                return;
            }
            std::mem::replace(&mut slot.identity, identity.clone())
        };
        // Without an origin, a node that has its number from its object may leave another path behind that
        // shows the same number.
        let is_path =
            |known: &Identity| matches!(known, Identity::Path(path) if path.0 == former.object());
        let is_one_of_several = matches!(former, Identity::Link(_) | Identity::Path(_));
        if (is_one_of_several
            || self.has_paths.load(Ordering::Acquire) && aliases.keys().any(is_path))
            && let Some(ino) = object.derived()
        {
            // It is no longer one with the other names or paths, and must not look so.
            node.ino.store(ino, Ordering::Relaxed);
        }
        aliases.remove(&former);
        if identity.id() != Some(node.id) {
            aliases.insert(identity, node.id);
        }
        self.alias_count.store(aliases.len(), Ordering::Release);
    }

    /// Says that a node has another name now.
    ///
    /// The caller excludes lookups of both names.
    pub(crate) fn moved(&self, id: u64, to: NameIn) {
        if self.alias_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut aliases = self.aliases.lock();
        let mut shard = self.shard(id).lock();
        let Some(slot) = shard.get_mut(id) else {
            return;
        };
        if let Identity::Path(known) = &slot.identity {
            let identity = Identity::Path(Box::new((known.0, to)));
            aliases.remove(&slot.identity);
            aliases.insert(identity.clone(), id);
            slot.identity = identity;
        }
    }

    /// Makes a node be found by its id alone: the layers have something else where it was.
    pub(crate) fn part_with(&self, id: u64) {
        let mut aliases = self.aliases.lock();
        let former = {
            let mut shard = self.shard(id).lock();
            let Some(slot) = shard.get_mut(id) else {
                return;
            };
            slot.object = ObjectId::default();
            std::mem::replace(&mut slot.identity, Identity::Own(ObjectId::default()))
        };
        if aliases.get(&former) == Some(&id) {
            aliases.remove(&former);
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
            let node = &shard.get(id)?.node;
            let left = node
                .lookups
                .load(Ordering::Relaxed)
                .saturating_sub(forgotten);
            node.lookups.store(left, Ordering::Relaxed);
            if left > 0 || node.children.load(Ordering::Relaxed) > 0 {
                return None;
            }
            shard.remove(id)?
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
        self.shards.iter().map(|shard| shard.lock().0.len()).sum()
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
    use crate::inode::node::{Below, Place, Real};
    use crate::layer::object_id::Numbering;
    use crate::types::{Device, FileKind};

    fn object(ino: u64) -> ObjectId {
        Numbering::default().object(Device::default(), ino)
    }

    fn one(ino: u64) -> Identity {
        Identity::Object(object(ino))
    }

    /// A name in the root.
    fn at(name: &str) -> NameIn {
        NameIn {
            dir: ROOT_ID,
            name: Name::from(OsStr::new(name)),
        }
    }

    fn node(id: u64, parent: Option<Arc<Node>>) -> Arc<Node> {
        let place = Place {
            parent,
            name: Name::from(OsStr::new("n")),
            real: Real::Upper,
            below: Below::default(),
        };
        Node::new(id, id, FileKind::Directory, place, Vec::new())
    }

    #[test]
    fn one_object_has_one_node_until_it_is_forgotten() {
        let table = NodeTable::default();
        let first = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        let second = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
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
        let lower = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        table.rebind(&lower, object(20), false);
        let upper = table.obtain(one(20), &at("n"), object(20), |id| node(id, None));
        assert!(Arc::ptr_eq(&lower, &upper));
        assert!(table.find(object(10)).is_none());

        // Another name of the lower file is another file now, and needs another number.
        let other = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        assert_ne!(other.id, 10);
        let again = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        assert!(Arc::ptr_eq(&other, &again));

        table.forget(other.id, 2);
        table.forget(10, 2);
        assert_eq!(table.len(), 0);
        assert_eq!(table.alias_count.load(Ordering::Relaxed), 0);
        assert_eq!(
            table
                .obtain(one(20), &at("n"), object(20), |id| node(id, None))
                .id,
            20
        );
    }

    #[test]
    fn a_copy_with_an_origin_keeps_its_identity() {
        let table = NodeTable::default();
        let lower = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        table.rebind(&lower, object(20), true);
        let upper = table.obtain(one(10), &at("n"), object(20), |id| node(id, None));
        assert!(Arc::ptr_eq(&lower, &upper));
        assert_eq!(table.alias_count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_false_origin_confuses_no_files() {
        let table = NodeTable::default();
        let first = table.obtain(one(10), &at("n"), object(20), |id| node(id, None));
        let other = table.obtain(one(10), &at("n"), object(21), |id| node(id, None));
        assert_ne!(first.id, other.id);
        let again = table.obtain(one(10), &at("n"), object(21), |id| node(id, None));
        assert!(Arc::ptr_eq(&other, &again));
        let lower = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        assert!(lower.id != first.id && lower.id != other.id);
        let first_again = table.obtain(one(10), &at("n"), object(20), |id| node(id, None));
        assert!(Arc::ptr_eq(&first, &first_again));
    }

    #[test]
    fn a_directory_is_known_as_long_as_something_below_it_is() {
        let table = NodeTable::default();
        let top = table.obtain(one(10), &at("n"), object(10), |id| node(id, None));
        let middle = table.obtain(one(11), &at("n"), object(11), |id| {
            node(id, Some(top.clone()))
        });
        table.obtain(one(12), &at("n"), object(12), |id| {
            node(id, Some(middle.clone()))
        });
        assert!(table.forget(10, 1).is_empty());
        assert!(table.forget(11, 1).is_empty());
        assert_eq!(table.forget(12, 1).len(), 3);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn names_of_a_lower_hard_link_are_nodes_of_their_own() {
        let table = NodeTable::default();
        let link = |name: &str| Identity::Link(Box::new((object(10), at(name))));
        let a = table.obtain(link("a"), &at("a"), object(10), |id| node(id, None));
        let b = table.obtain(link("b"), &at("b"), object(10), |id| node(id, None));
        let a_again = table.obtain(link("a"), &at("a"), object(10), |id| node(id, None));
        assert!(Arc::ptr_eq(&a, &a_again));
        assert_ne!(a.id, b.id);
        assert_eq!(a.id, 10, "a lookup of the first name says all of it");
        let b_again = table.obtain(link("b"), &at("b"), object(10), |id| node(id, None));
        assert!(Arc::ptr_eq(&b, &b_again));
        table.rebind(&a, object(20), true);
        assert_eq!(a.ino.load(Ordering::Relaxed), 20);
        assert!(Arc::ptr_eq(&a, &table.find(object(20)).unwrap()));
        assert!(table.find(object(10)).is_none());
        // The number is free for others when the node is forgotten.
        table.forget(a.id, 2);
        table.forget(b.id, 2);
        assert_eq!(table.alias_count.load(Ordering::Relaxed), 0);
        let other = table.obtain(link("c"), &at("c"), object(10), |id| node(id, None));
        assert_eq!(other.id, 10);
    }

    #[test]
    fn a_node_that_was_parted_with_is_found_by_its_id_alone() {
        let table = NodeTable::default();
        let former = table.obtain(one(10), &at("a"), object(10), |id| node(id, None));
        table.part_with(former.id);
        let now = table.obtain(one(10), &at("a"), object(10), |id| node(id, None));
        assert_ne!(former.id, now.id);
        let again = table.obtain(one(10), &at("a"), object(10), |id| node(id, None));
        assert!(Arc::ptr_eq(&now, &again));
        assert!(Arc::ptr_eq(&former, &table.get(10).unwrap()));
        table.forget(10, 1);
        table.forget(now.id, 2);
        assert_eq!(table.len(), 0);
        assert_eq!(table.alias_count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn objects_without_a_number_of_their_own_get_one() {
        let table = NodeTable::default();
        let first = table.obtain(one(1), &at("n"), object(1), |id| node(id, None));
        let same = table.obtain(one(1), &at("n"), object(1), |id| node(id, None));
        let large = table.obtain(one(u64::MAX), &at("n"), object(u64::MAX), |id| {
            node(id, None)
        });
        assert!(Arc::ptr_eq(&first, &same));
        assert_ne!(first.id, ROOT_ID);
        assert_ne!(first.id, large.id);
    }

    #[test]
    fn two_paths_with_one_number_are_two_nodes() {
        let table = NodeTable::default();
        let make = |id| node(id, None);
        let a = table.obtain(one(10), &at("a"), object(10), make);
        let b = table.obtain_at_path(object(10), at("b"), object(10), make);
        assert_ne!(a.id, b.id);
        let link = Identity::Link(Box::new((object(10), at("l"))));
        let linked = table.obtain(link, &at("l"), object(10), make);
        assert!(linked.id != a.id && linked.id != b.id);
        table.forget(linked.id, 1);
        let again = table.obtain(one(10), &at("b"), object(10), make);
        assert!(Arc::ptr_eq(&b, &again));
        let again = table.obtain(one(10), &at("a"), object(10), make);
        assert!(Arc::ptr_eq(&a, &again));

        // Whatever becomes of the other, and of its own name.
        table.forget(a.id, 2);
        table.moved(b.id, at("c"));
        table.rebind(&b, object(20), true);
        let again = table.obtain(one(10), &at("c"), object(20), make);
        assert!(Arc::ptr_eq(&b, &again));
        let other = table.obtain(one(10), &at("b"), object(10), make);
        assert_eq!(other.id, 10);

        table.forget(other.id, 1);
        table.forget(b.id, 3);
        assert_eq!(table.len(), 0);
        assert_eq!(table.alias_count.load(Ordering::Relaxed), 0);
    }
}

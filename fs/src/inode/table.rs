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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::inode::identity::{Identity, NameIn};
use crate::inode::node::Node;
use crate::inode::shard::{Shard, Slot};
use crate::layer::object_id::{ObjectId, dynamic};
use crate::types::ROOT_ID;

const SHARDS: usize = 16;

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

    /// Records that a node shows another object from now on: it was copied up. `has_origin` says that the
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

    /// Gives a node another name.
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
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// Counts one lookup; the caller holds the lock of the node's shard, or is the only one to know it.
fn count(node: &Arc<Node>) -> Arc<Node> {
    node.lookups.fetch_add(1, Ordering::Relaxed);
    node.clone()
}

#[cfg(test)]
mod tests;

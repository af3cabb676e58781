//! One part of the table of nodes: slots by the ids of their nodes.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::inode::identity::Identity;
use crate::inode::node::Node;
use crate::layer::object_id::ObjectId;

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) node: Arc<Node>,
    pub(crate) identity: Identity,
    /// What it shows.
    pub(crate) object: ObjectId,
}

impl Slot {
    pub(crate) fn is(&self, identity: &Identity, object: ObjectId) -> bool {
        self.identity == *identity && self.object == object
    }
}

/// A part of the table: slots by the ids of their nodes.
#[derive(Debug, Default)]
pub(crate) struct Shard(HashTable<Slot>);

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Slot> {
        self.0.find(hash(id), |slot| slot.node.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Slot> {
        self.0.find_mut(hash(id), |slot| slot.node.id == id)
    }

    /// Puts in a node that is not there.
    pub(crate) fn insert(&mut self, slot: Slot) {
        let rehash = |slot: &Slot| hash(slot.node.id);
        self.0.insert_unique(hash(slot.node.id), slot, rehash);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Slot> {
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

pub(crate) fn hash(id: u64) -> u64 {
    FxBuildHasher.hash_one(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A table looks at the lowest and the highest bits of a hash.
    #[test]
    fn ids_that_follow_each_other_spread_over_low_and_high_bits() {
        let hashes: Vec<u64> = (0..1024).map(hash).collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3ff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(low.len() > 500, "{}", low.len());
        assert!(high.len() > 60, "{}", high.len());
    }
}

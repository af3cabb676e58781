use std::ffi::OsStr;

use super::*;
use crate::inode::backing::{Backing, LowerLink};
use crate::inode::node::Place;
use crate::layer::object_id::InoMapper;
use crate::types::{Device, FileKind, Name};

pub(crate) fn object(ino: u64) -> ObjectId {
    InoMapper::default().object(Device::default(), ino)
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
        backing: Backing::Upper,
        lower_link: LowerLink::default(),
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

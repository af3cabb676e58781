//! Layers in use, and of older stores.

use super::*;

#[test]
fn a_layer_in_use_is_not_replaced() {
    inside(this_test!(), || {
        let world = world(&mut Numbers(16));
        let layer = top_layer(&world, "b:test");
        crate::support::container::mounted(&world, &["--ro", "b:test"], |_| {
            flip_in(&layer.join("diff/d-b/large"));
            let (status, found) = check(&world, &["--repair"]);
            assert_eq!((status, found.len()), (4, 1), "{found:?}");
            let (_, said) = fail(&mut world.import(&source(&world, "b")));
            assert!(said.contains("is damaged and in use"), "{said}");
        });
        assert_eq!(check(&world, &["--repair"]).0, 1);
        assert_eq!(check(&world, &[]), (0, vec![]));
    });
}

#[test]
fn layers_of_an_older_store_are_compared_with_their_blobs() {
    let world = world(&mut Numbers(17));
    let layer = top_layer(&world, "b:test");
    let record = layer.join("layer.json");
    let mut old: serde_json::Map<String, Value> =
        serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    old.remove("tree");
    old.remove("seal");
    let record_of: plyfs_store::LayerRecord = serde_json::from_value(old.into()).unwrap();
    let plain = serde_json::to_vec(&record_of).unwrap();
    fs::write(&record, &plain).unwrap();
    fs::remove_file(world.store("index.copy")).unwrap();
    assert_eq!(check(&world, &[]), (0, vec![]));
    flip_in(&layer.join("diff/d-b/large"));
    assert_eq!(check(&world, &[]).0, 4);
    assert_eq!(check(&world, &["--repair"]).0, 1);
    assert!(fs::read(&record).unwrap().len() > plain.len());
    assert!(world.store("index.copy").exists());
}

//! Layers that are written, images that are held, and what is collected.

use std::io;

use crate::support::{World, import};
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{
    BlobError, CommitError, CommitRequest, Compression, Container, EntryContent, Error, LayerEntry,
    LayerWriter, Ownership, RemoveError, Silent, Store, Timestamp, Unneeded,
};

fn store(world: &World) -> Store {
    let layer = Layer::new([Entry::dir("."), Entry::file("f", "f")]);
    let image = ImageBuilder::new().layer(layer, Compression::Gzip);
    let dir = world.path("src");
    image.write_oci(&dir, Some("a:1")).unwrap();
    let store = world.store();
    import(&store, &format!("oci:{}:a:1", dir.display())).unwrap();
    store
}

fn container(store: &Store) -> Container {
    let image = store.image("a:1").unwrap();
    let name = "c".parse().unwrap();
    store
        .create_container(Some(&name), &image, Ownership::Override)
        .unwrap()
}

fn entry(path: &str, content: EntryContent) -> LayerEntry {
    LayerEntry {
        path: path.as_bytes().to_vec(),
        content,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::from_seconds(1_000),
        xattrs: vec![(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())],
    }
}

fn write(layer: &mut LayerWriter) {
    let file = b"some data";
    layer
        .append(&entry("", EntryContent::Dir), &mut io::empty())
        .unwrap();
    layer
        .append(&entry("d", EntryContent::Dir), &mut io::empty())
        .unwrap();
    layer
        .append(&entry("d", EntryContent::Opaque), &mut io::empty())
        .unwrap();
    let size = file.len() as u64;
    layer
        .append(&entry("d/new", EntryContent::File(size)), &mut &file[..])
        .unwrap();
    let link = EntryContent::Link(b"d/new".to_vec());
    layer
        .append(&entry("d/same", link), &mut io::empty())
        .unwrap();
    layer
        .append(&entry("f", EntryContent::Whiteout), &mut io::empty())
        .unwrap();
}

fn request(name: &str) -> CommitRequest {
    CommitRequest {
        created: Timestamp::from_seconds(7),
        ..CommitRequest::new(name.parse().unwrap(), Ownership::Override)
    }
}

#[test]
fn the_same_entries_make_the_same_layer_in_every_compression() {
    let world = World::new();
    let store = store(&world);
    let container = container(&store);
    let mut diff_ids = Vec::new();
    for (at, compression) in [Compression::Gzip, Compression::Zstd, Compression::None]
        .into_iter()
        .enumerate()
    {
        let digests = ["one", "two"].map(|name| {
            let mut layer = store.layer_writer(compression).unwrap();
            write(&mut layer);
            let request = request(&format!("{name}:{at}"));
            let made = store
                .commit(&container.record, layer, &request, &Silent)
                .unwrap();
            made.manifest_digest
        });
        assert_eq!(digests[0], digests[1]);
        let image = store.image(&format!("one:{at}")).unwrap();
        let layer = &image.layers[1];
        assert_eq!(layer.record.facts.xattrs_dropped, 0);
        assert_eq!(
            (layer.record.facts.opaque, layer.record.facts.whiteouts),
            (1, 1)
        );
        assert_eq!(
            std::fs::read(layer.path.join("d/same")).unwrap(),
            b"some data"
        );
        diff_ids.push(layer.diff_id);
    }
    assert!(diff_ids.iter().all(|id| *id == diff_ids[0]));
}

#[test]
fn a_layer_that_is_not_to_be_leaves_nothing() {
    let world = World::new();
    let store = store(&world);
    let staging = store.path().join("staging");
    let count = || std::fs::read_dir(&staging).unwrap().count();
    let mut layer = store.layer_writer(Compression::Gzip).unwrap();
    write(&mut layer);
    assert_eq!(count(), 1);
    let bad = layer.append(&entry("d/.wh.x", EntryContent::Fifo), &mut io::empty());
    assert!(matches!(bad, Err(Error::Commit(CommitError::Name(_)))));
    // Less data than was promised.
    let short = layer.append(&entry("d/short", EntryContent::File(9)), &mut &b"short"[..]);
    assert!(short.is_err());
    drop(layer);
    assert_eq!(count(), 0);
}

#[test]
fn what_is_held_stays_until_it_is_let_go() {
    let world = World::new();
    let store = store(&world);
    let image = store.image("a:1").unwrap();
    let hold = store.hold(&image.manifest_digest).unwrap();
    let refused = store.remove_image("a:1", false).unwrap_err();
    assert!(
        matches!(refused, Error::Remove(RemoveError::Held(_))),
        "{refused}"
    );
    let (_, unneeded) = store.remove_image("a:1", true).unwrap();
    let collected = store.collect(&unneeded).unwrap().unwrap();
    assert_eq!((collected.blobs, collected.layers), (0, 0));
    assert!(image.layers[0].path.exists());
    drop(hold);
    let collected = store.collect(&unneeded).unwrap().unwrap();
    assert_eq!((collected.blobs, collected.layers), (3, 1));
    assert!(!image.layers[0].path.exists());
    // A caller that looked it up before comes too late, and gets an error.
    for error in [
        store.hold(&image.manifest_digest).unwrap_err(),
        store
            .create_container(None, &image, Ownership::Override)
            .unwrap_err(),
        store
            .temporary_container(None, &image, Ownership::Override)
            .unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::Blob(BlobError::Missing { .. })),
            "{error}"
        );
    }
}

#[test]
fn a_temporary_container_keeps_its_image() {
    let world = World::new();
    let store = store(&world);
    let image = store.image("a:1").unwrap();
    let temporary = store
        .temporary_container(None, &image, Ownership::Override)
        .unwrap();
    let (_, unneeded) = store.remove_image("a:1", true).unwrap();
    store.collect(&unneeded).unwrap().unwrap();
    assert!(temporary.layers[0].path.exists());
    drop(temporary);
    let collected = store.collect(&unneeded).unwrap().unwrap();
    assert_eq!((collected.blobs, collected.layers), (3, 1));
}

#[test]
fn a_container_that_cannot_be_read_keeps_everything() {
    let world = World::new();
    let store = store(&world);
    let container = container(&store);
    let record = container.upper.with_file_name("container.json");
    let good = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    let (_, unneeded) = store.remove_image("a:1", true).unwrap();
    let collected = store.collect(&unneeded).unwrap().unwrap();
    assert_eq!(
        (collected.blobs, collected.layers, collected.damaged),
        (0, 0, 1)
    );
    assert!(container.layers[0].path.exists());
    std::fs::write(&record, good).unwrap();
    assert_eq!(store.collect(&unneeded).unwrap().unwrap().layers, 0);
    let mut more = Unneeded::default();
    more.add(store.remove_container(&container.record.name).unwrap());
    let collected = store.collect(&more).unwrap().unwrap();
    assert_eq!((collected.blobs, collected.layers), (3, 1));
}

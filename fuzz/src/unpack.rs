//! Unpacking: whatever is in a layer, nothing outside its directory is touched, a layer that was accepted is
//! whole, and it can be removed.
//!
//! The input is a tree in lines (see [`crate::lines`]), or behind a zero byte an archive as it is, whose
//! checksums are made to fit. The option `real` keeps owners as files have them, for root.

use std::fs;

use plyfs_store::fixture::{EncodedLayer, ImageBuilder};
use plyfs_store::{
    CheckRequest, Compression, ImportRequest, Limits, Ownership, Silent, Source, Store,
};

use crate::archive::{of_lines, repair_checksums};
use crate::world::World;
use crate::{check_message, lines};

pub(crate) const WORDS: &[&str] = &[
    "..",
    "../",
    "/",
    "./",
    "@OUT@",
    "@OUT@/file",
    "/plyfs-fuzz-escaped",
    ".wh.",
    ".wh..wh..opq",
    ".wh..wh.plnk",
    "\nd a",
    "\nf a/b data",
    "\ns a @OUT@",
    "\ns a ../../../../canary",
    "\nh b a",
    "\nh b ../../canary/file",
    "\nw a",
    "\np a",
    "\nc a",
    "\nm a 0",
    "\nx a user.overlay.redirect /",
    "\nx a trusted.overlay.opaque y",
    "\nx a user.containers.override_stat 0:0:4755",
    "\n---\n",
    "\no real\n",
];

pub(crate) fn run(data: &[u8]) {
    let world = World::new();
    let canary = world.path("canary").display().to_string();
    let (archives, real) = match data.split_first() {
        Some((0, archive)) => {
            let mut archive = archive.to_vec();
            repair_checksums(&mut archive);
            (vec![archive], false)
        }
        _ => {
            let (layers, options) = lines::parse(data, &canary);
            let archives = layers.iter().map(|layer| of_lines(layer)).collect();
            (archives, options.iter().any(|word| word == "real"))
        }
    };
    let ownership = match real && rustix::process::geteuid().is_root() {
        true => Ownership::Real,
        false => Ownership::Override,
    };
    let store = Store::open(world.path("store")).unwrap();
    let source = write_image(&world, &archives);
    let mut request = ImportRequest::new(source, ownership);
    request.limits = Limits {
        layer_bytes: 1 << 20,
        layer_entries: 1000,
    };
    let imported = store.import(&request, &Silent);
    world.check(&["store", "source"]);
    world.check_staging("store");
    match imported {
        Err(error) => {
            check_message(&error.to_string());
            assert!(store.images().unwrap().is_empty(), "half of an image");
        }
        Ok(imported) => {
            let again = store.import(&request, &Silent).unwrap();
            assert_eq!((again.unpacked, again.name), (0, imported.name));
            check_whole(&store, ownership);
            remove(&store);
        }
    }
    world.check(&["store", "source"]);
    world.check_staging("store");
}

fn write_image(world: &World, archives: &[Vec<u8>]) -> Source {
    let mut image = ImageBuilder::new();
    for archive in archives {
        let layer = EncodedLayer::from_archive(archive, Compression::None).unwrap();
        image = image.encoded_layer(layer);
    }
    let dir = world.path("source");
    image.write_oci(&dir, Some("test:1")).unwrap();
    Source::parse(&format!("oci:{}", dir.display())).unwrap()
}

/// Panics if a check finds anything in a store that was just filled.
pub(crate) fn check_whole(store: &Store, ownership: Ownership) {
    let check = CheckRequest {
        image: None,
        repair: false,
        source: None,
        ownership,
    };
    let report = store.check(&check, &Silent).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

fn remove(store: &Store) {
    let (_, unneeded) = store.remove_image("test:1", false).unwrap();
    store.collect(&unneeded).unwrap();
    let layers = fs::read_dir(store.path().join("layers/sha256")).unwrap();
    assert_eq!(layers.count(), 0, "a layer is left");
}

//! `plyfs rm` and `plyfs rmi`: what goes, and what stays because something needs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::thread;

use plyfs_store::Compression;
use plyfs_store::build::{Entry, ImageBuilder, Layer};
use support::container::mounted;
use support::world::World;
use support::*;

fn layer(text: &str) -> Layer {
    Layer::new([Entry::dir("."), Entry::file(text, text.repeat(1000))])
}

/// A store with two images on one layer: `a:test` and `b:test`.
fn world() -> World {
    let world = World::new();
    for name in ["a", "b"] {
        let image = ImageBuilder::new()
            .layer(layer("base"), Compression::Gzip)
            .layer(layer(name), Compression::Gzip);
        world.with_image(name, &image);
    }
    world
}

fn counts(world: &World) -> (usize, usize) {
    let blobs = world.names("blobs/sha256").len();
    (blobs, world.names("layers/sha256").len())
}

#[test]
fn what_two_images_share_stays_as_long_as_one_is_there() {
    let world = world();
    assert_eq!(counts(&world), (7, 3));
    assert_eq!(succeed(&mut world.plyfs(["rmi", "a:test"])), "a:test\n");
    assert_eq!(counts(&world), (4, 2));
    let (_, said) = fail(&mut world.plyfs(["rmi", "a:test"]));
    assert!(said.contains("there is no image \"a:test\""), "{said}");
    // The blobs of the other are whole.
    let target = format!("oci:{}", world.path("out").display());
    succeed(&mut world.plyfs(["save", "b:test", &target]));
    succeed(&mut world.plyfs(["rmi", "b:test"]));
    assert_eq!(counts(&world), (0, 0));
    assert_eq!(world.names("staging"), [""; 0]);
    // All of it can come back.
    succeed(&mut world.import(&target));
    assert_eq!(counts(&world), (4, 2));
}

#[test]
fn a_second_name_goes_alone() {
    let world = world();
    let source = format!("oci:{}:test", world.path("a").display());
    succeed(
        world
            .plyfs(["import", "--name", "c:1", &source])
            .args(["--ownership", "override"]),
    );
    succeed(&mut world.plyfs(["rmi", "a:test"]));
    assert_eq!(counts(&world), (7, 3));
    succeed(&mut world.plyfs(["rmi", "c:1", "b:test"]));
    assert_eq!(counts(&world), (0, 0));
}

#[test]
fn an_image_that_a_container_stands_on_stays() {
    inside("an_image_that_a_container_stands_on_stays", || {
        let world = world();
        mounted(&world, &["--container", "c", "a:test"], |at| {
            fs::write(at.join("kept"), "kept").unwrap();
        });
        let (_, said) = fail(&mut world.plyfs(["rmi", "a:test"]));
        assert!(
            said.contains("the image a:test is used by the container c; remove that first"),
            "{said}"
        );
        assert_eq!(counts(&world), (7, 3));
        // The name goes, and the container does not notice.
        succeed(&mut world.plyfs(["rmi", "--force", "a:test"]));
        assert_eq!(counts(&world), (7, 3));
        mounted(&world, &["--container", "c"], |at| {
            assert!(at.join("a").exists() && at.join("kept").exists());
            let (_, said) = fail(&mut world.plyfs(["rm", "c"]));
            assert!(said.contains("is in use: mounted on "), "{said}");
        });
        succeed(&mut world.plyfs(["commit", "c", "d:1"]));
        assert_eq!(succeed(&mut world.plyfs(["rm", "c"])), "c\n");
        let (_, said) = fail(&mut world.plyfs(["rm", "c"]));
        assert!(
            said.contains("there is no container \"c\"; there are none"),
            "{said}"
        );
        // The new image has layers of the old one; of that, only the documents went.
        assert_eq!(counts(&world), (8, 4));
        succeed(&mut world.plyfs(["rmi", "d:1"]));
        assert_eq!(counts(&world), (4, 2));
    });
}

#[test]
fn an_image_that_is_mounted_stays() {
    inside("an_image_that_is_mounted_stays", || {
        let world = world();
        mounted(&world, &["--ro", "a:test"], |at| {
            let (_, said) = fail(&mut world.plyfs(["rmi", "a:test"]));
            assert!(said.contains("the image a:test is in use"), "{said}");
            succeed(&mut world.plyfs(["rmi", "--force", "a:test", "b:test"]));
            assert_eq!(counts(&world), (4, 2));
            assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "a".repeat(1000));
        });
        // Nobody needs it any more, and whoever removes something next sees that.
        let source = format!("oci:{}:test", world.path("b").display());
        succeed(&mut world.import(&source));
        succeed(&mut world.plyfs(["rmi", "b:test"]));
        assert_eq!(world.names("layers/sha256"), [""; 0]);
    });
}

#[test]
fn what_another_tool_has_just_written_stays() {
    let world = world();
    let foreign = world.store("blobs/sha256").join("ab".repeat(32));
    fs::write(&foreign, "about to be named in the index").unwrap();
    fs::write(world.store("blobs/sha256/note"), "mine").unwrap();
    succeed(&mut world.plyfs(["rmi", "a:test", "b:test"]));
    assert_eq!(counts(&world), (2, 0));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(4000);
    fs::File::options()
        .write(true)
        .open(&foreign)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let source = format!("oci:{}:test", world.path("b").display());
    succeed(&mut world.import(&source));
    succeed(&mut world.plyfs(["rmi", "b:test"]));
    assert_eq!(world.names("blobs/sha256"), ["note"]);
}

#[test]
fn where_a_document_is_damaged_all_stays() {
    let world = world();
    let images = succeed(&mut world.plyfs(["images", "--json"]));
    let images: serde_json::Value = serde_json::from_str(&images).unwrap();
    let digest = images[0]["digest"].as_str().unwrap();
    let blob: PathBuf = world.store("blobs/sha256").join(&digest["sha256:".len()..]);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let before = counts(&world);
    let (_, said) = fail(&mut world.plyfs(["rmi", "b:test"]));
    assert!(
        said.contains("was not removed: ") && said.contains("is corrupt"),
        "{said}"
    );
    assert_eq!(counts(&world), before);
}

#[test]
fn imports_and_removals_at_once_leave_whole_images() {
    let world = world();
    let import = |name: &str| {
        let source = format!("oci:{}:test", world.path(name).display());
        let output = world.import(&source).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    thread::scope(|scope| {
        for name in ["a", "b"] {
            scope.spawn(move || {
                for _ in 0..15 {
                    import(name);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                // There may be none at the moment.
                world.plyfs(["rmi", "a:test"]).output().unwrap();
            }
        });
    });
    import("a");
    import("b");
    for name in ["a", "b"] {
        let target = format!(
            "docker-archive:{}",
            world.path(&format!("{name}.tar")).display()
        );
        succeed(&mut world.plyfs(["save", &format!("{name}:test"), &target]));
        let other = World::new();
        succeed(&mut other.import(&target));
    }
    assert_eq!(counts(&world), (7, 3));
    assert_eq!(world.names("staging"), [""; 0]);
}

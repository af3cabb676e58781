//! `plyfs ps`, `plyfs history`, `plyfs inspect` and `plyfs df`.

use std::fs;

use crate::support::container::{mounted, world};
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use serde_json::{Value, json};

fn listed(world: &World, arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&mut world.plyfs(arguments))).unwrap()
}

/// The rows of a table without its header, with columns parted by single spaces.
fn rows(world: &World, arguments: &[&str]) -> Vec<String> {
    let said = succeed(&mut world.plyfs(arguments));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    said.lines().skip(1).map(words).collect()
}

#[test]
fn where_there_is_nothing_lists_are_empty() {
    let world = World::new();
    // A directory that is not there may be a wrong name.
    std::fs::create_dir(world.store("")).unwrap();
    assert_eq!(listed(&world, &["ps", "--json"]), json!([]));
    assert_eq!(rows(&world, &["containers"]), [""; 0]);
    assert_eq!(listed(&world, &["df", "--json"])["images"], json!([]));
    for command in ["history", "inspect"] {
        let (_, said) = fail(&mut world.plyfs([command, "missing"]));
        assert!(said.contains("there is no store"), "{said}");
    }
}

#[test]
fn containers_are_listed_with_what_they_stand_on() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "one", "box:test"], |_| {});
        mounted(&world, &["--container", "two", "box:test"], |_| {
            let listed = listed(&world, &["ps", "--json"]);
            let image = &self::listed(&world, &["images", "--json"])[0];
            for (at, name, in_use) in [(0, "one", false), (1, "two", true)] {
                assert_eq!(listed[at]["name"], name);
                assert_eq!(listed[at]["image"], "box:test");
                assert_eq!(listed[at]["image_digest"], image["digest"]);
                assert_eq!(listed[at]["in_use"], in_use);
            }
            let rows = rows(&world, &["ps"]);
            assert!(rows[0].starts_with("one box:test 2"), "{rows:?}");
            let mounted = format!(" mounted on {} ", world.path("mnt").display());
            assert!(rows[1].contains(&mounted), "{rows:?}");
        });
    });
}

#[test]
fn an_image_and_a_container_are_inspected() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |at| {
            fs::write(at.join("f"), "f").unwrap();
        });
        let image = listed(&world, &["inspect", "box:test"]);
        assert_eq!(image["type"], "image");
        assert_eq!(image["config"]["rootfs"]["type"], "layers");
        assert_eq!(image["layers"].as_array().unwrap().len(), 2);
        assert_eq!(
            image["chain_ids"][0],
            image["layers"][0]["record"]["diff_id"]
        );
        let container = listed(&world, &["inspect", "c"]);
        assert_eq!(container["type"], "container");
        assert_eq!(container["image_digest"], image["digest"]);
        assert_eq!(container["layers"], image["layers"]);
        let upper = container["upper"].as_str().unwrap();
        assert_eq!(fs::read_to_string(format!("{upper}/f")).unwrap(), "f");
        let (_, said) = fail(&mut world.plyfs(["inspect", "missing"]));
        assert!(
            said.contains("there is no container \"missing\", and there is no image \"missing\""),
            "{said}"
        );
    });
}

#[test]
fn the_history_has_a_step_for_each_layer() {
    inside(this_test!(), || {
        let world = world();
        mounted(&world, &["--container", "c", "box:test"], |_| {});
        succeed(
            world
                .plyfs(["commit", "--message", "say\x1b[2J why", "c", "new:1"])
                .env("SOURCE_DATE_EPOCH", "1700000000"),
        );
        let steps = listed(&world, &["history", "--json", "new:1"]);
        assert_eq!(steps.as_array().unwrap().len(), 3);
        assert_eq!(steps[0]["comment"], "say\x1b[2J why");
        assert_eq!(steps[0]["created"], "2023-11-14T22:13:20Z");
        let image = listed(&world, &["inspect", "new:1"]);
        for (step, layer) in [(0, 2), (1, 1), (2, 0)] {
            assert_eq!(
                steps[step]["layer"],
                image["layers"][layer]["record"]["diff_id"]
            );
            assert_eq!(
                steps[step]["size"],
                image["layers"][layer]["record"]["size"]
            );
        }
        let rows = rows(&world, &["history", "new:1"]);
        assert!(
            rows[0].starts_with("2023-11-14 22:13 (") && rows[0].contains(") plyfs commit "),
            "{rows:?}"
        );
        assert!(rows[0].ends_with(" say\\u{1b}[2J why"), "{rows:?}");
    });
}

#[test]
fn df_separates_shared_from_unique_space() {
    inside(this_test!(), || {
        let world = World::new();
        let layer = |name: &str, size: usize| {
            Layer::new([Entry::dir("."), Entry::file(name, vec![7; size])])
        };
        for (name, size) in [("a", 1000), ("b", 2000)] {
            let image = ImageBuilder::new()
                .layer(layer("base", 50_000), Compression::Gzip)
                .layer(layer(name, size), Compression::Gzip);
            world.with_image(name, &image);
        }
        let df = listed(&world, &["df", "--json"]);
        assert_eq!(df["layers"], json!({"count": 3, "size": 53_000}));
        let blobs = fs::read_dir(world.store("blobs/sha256")).unwrap();
        let bytes: u64 = blobs
            .map(|blob| blob.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(df["blobs"], json!({"count": 7, "size": bytes}));
        let images = df["images"].as_array().unwrap();
        let field = |at: usize, field: &str| images[at][field].as_u64().unwrap();
        assert_eq!(field(0, "shared"), field(1, "shared"));
        assert!(field(0, "shared") > 50_000 && field(1, "unique") > 2000);
        assert_eq!(field(0, "unique") + field(0, "shared"), field(0, "size"));
        assert_eq!(
            field(0, "unique") + field(1, "unique") + field(0, "shared"),
            53_000 + bytes
        );
        mounted(&world, &["--container", "c", "a:test"], |at| {
            fs::write(at.join("big"), vec![1; 300_000]).unwrap();
        });
        let df = listed(&world, &["df", "--json"]);
        let size = df["containers"][0]["size"].as_u64().unwrap();
        assert!((300_000..400_000).contains(&size), "{size}");
        assert_eq!(rows(&world, &["df"]).len(), 3);
        let detailed = succeed(&mut world.plyfs(["df", "-v"]));
        assert!(
            detailed.contains("UNIQUE") && detailed.contains("b:test"),
            "{detailed}"
        );
    });
}

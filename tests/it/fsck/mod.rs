//! `plyfs fsck`: damage of every kind is named and healed, no command takes it for right, and other images work on.
//!
//! The random test takes its seed and length from the environment:
//!
//! - `PLYFS_FSCK_SEED`: the seed; it is printed.
//! - `PLYFS_FSCK_FLIPS`: how many bits are flipped, one after another, 15 without.

mod index;
mod layers;
mod output;
mod places;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::tree::{Facts, facts};
use crate::support::world::World;
use crate::support::*;
use places::*;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, ContainerName, Ownership, Store};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use serde_json::Value;

const IMAGES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A small generator (xorshift) whose numbers follow from its seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A layer with everything in it that a layer can have.
fn layer(numbers: &mut Numbers, name: &str, size: usize) -> Layer {
    let dir = format!("d-{name}");
    Layer::new([
        Entry::dir("."),
        Entry::dir(&dir).owner(3, 4).mode(0o750),
        Entry::file(format!("{dir}/large"), numbers.bytes(size)),
        Entry::file(format!("{dir}/small"), name).xattr("user.note", "some attribute"),
        Entry::hard_link(format!("{dir}/linked"), format!("{dir}/small")),
        Entry::file(format!("{dir}/setuid"), "x")
            .owner(7, 0)
            .mode(0o4755),
        Entry::symlink(format!("{dir}/link"), "target"),
        Entry::fifo(format!("{dir}/fifo")),
        Entry::char_device(format!("{dir}/null"), 1, 3),
        Entry::whiteout(format!("{dir}-gone")),
        Entry::file("implied/parent", "x"),
    ])
}

/// A store of five images and a container. Some share a layer; two have blobs of more than 16 KiB.
fn world(numbers: &mut Numbers) -> World {
    let world = World::new();
    let base = layer(numbers, "base", 60_000);
    let compressions = [Compression::Gzip, Compression::Zstd, Compression::None];
    for (at, name) in IMAGES.iter().enumerate() {
        let mut image = ImageBuilder::new();
        if at < 3 {
            image = image.layer(base.clone(), Compression::Gzip);
        }
        let size = [300, 40_000, 2_000][at % 3];
        let top = layer(numbers, name, size);
        world.with_image(name, &image.layer(top, compressions[at % 3]));
    }
    let store = Store::open_existing(world.store("")).unwrap();
    let image = store.image("a:test").unwrap();
    let name: ContainerName = "box".parse().unwrap();
    let container = store
        .create_container(Some(&name), &image, Ownership::Override)
        .unwrap();
    let places = ["/dev", "/etc/hosts"].map(PathBuf::from);
    store
        .record_places(&container, &places.into_iter().collect())
        .unwrap();
    world
}

/// The store as it is, but for what only a mount or a repair may change.
fn snapshot(world: &World) -> BTreeMap<Vec<u8>, Facts> {
    let mut all = world.snapshot();
    all.retain(|path, _| !path.starts_with(b"staging"));
    for (path, facts) in &mut all {
        // Of the trees of layers all counts but the times of whiteouts; other files are published again.
        let is_whiteout = facts.kind == "char" && facts.rdev == 0;
        if is_whiteout || !path.windows(6).any(|part| part == b"/diff/") {
            facts.mtime = (0, 0);
        }
    }
    all
}

fn source(world: &World, name: &str) -> String {
    format!("oci:{}:test", world.path(name).display())
}

/// The exit status of a command, and what it said on standard output.
fn run<'a>(world: &World, arguments: impl IntoIterator<Item = &'a str>) -> (i32, String) {
    let output = world.plyfs(arguments).output().unwrap();
    let status = output.status.code().unwrap_or(-1);
    let stderr = text(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status, text(&output.stdout))
}

/// What a check says: the objects that it names with the images that need them, and the exit status.
fn check(world: &World, more: &[&str]) -> (i32, Vec<(String, Vec<String>, bool)>) {
    let arguments = ["fsck", "--json"].into_iter().chain(more.iter().copied());
    let (status, said) = run(world, arguments);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{status}: {said}"));
    let finding = |one: &Value| {
        let kind = one["object"].as_str().unwrap();
        let name = one["name"]
            .as_str()
            .map_or(String::new(), |name| format!(" {name}"));
        let users = one["needed_by"].as_array().unwrap().iter();
        let users = users.map(|user| user.as_str().unwrap().to_owned());
        (
            format!("{kind}{name}"),
            users.collect(),
            one["repaired"].as_bool().unwrap(),
        )
    };
    let findings = report["findings"].as_array().unwrap().iter().map(finding);
    (status, findings.collect())
}

/// What the commands say of images that are whole.
struct Truth {
    images: BTreeMap<String, Value>,
    inspected: BTreeMap<String, String>,
    saved: BTreeMap<String, BTreeMap<Vec<u8>, Facts>>,
}

fn images(world: &World) -> BTreeMap<String, Value> {
    let (status, said) = run(world, ["images", "--json"]);
    assert_eq!(status, 0, "{said}");
    let all: Vec<Value> = serde_json::from_str(&said).unwrap();
    let name = |image: &Value| image["name"].as_str().unwrap().to_owned();
    all.into_iter().map(|image| (name(&image), image)).collect()
}

/// Saves an image; nothing if that fails.
fn save(world: &World, name: &str) -> Option<BTreeMap<Vec<u8>, Facts>> {
    let target = world.path("saved");
    drop(fs::remove_dir_all(&target));
    let to = format!("oci:{}", target.display());
    let (status, _) = run(world, ["save", name, &to]);
    let mut all = (status == 0).then(|| facts(&target))?;
    for facts in all.values_mut() {
        facts.mtime = (0, 0);
    }
    Some(all)
}

impl Truth {
    fn of(world: &World) -> Self {
        let names = IMAGES.map(|name| format!("{name}:test"));
        let inspect = |name: &String| (name.clone(), run(world, ["inspect", name]).1);
        let save = |name: &String| (name.clone(), save(world, name).unwrap());
        Self {
            images: images(world),
            inspected: names.iter().map(inspect).collect(),
            saved: names.iter().map(save).collect(),
        }
    }

    /// No command gives wrong data as right, and images that nothing damaged is part of work.
    fn holds(&self, world: &World, hurt: &BTreeSet<String>, what: &str) {
        let listed = images(world);
        for (name, image) in &listed {
            assert_eq!(Some(image), self.images.get(name), "{what}: images");
        }
        for name in self.images.keys() {
            let is_hurt = hurt.contains(name);
            assert!(
                is_hurt || listed.contains_key(name),
                "{what}: {name} is not listed"
            );
            let (status, said) = run(world, ["inspect", name]);
            assert!(is_hurt || status == 0, "{what}: inspect {name}");
            if status == 0 {
                assert_eq!(said, self.inspected[name], "{what}: inspect {name}");
            }
            match save(world, name) {
                Some(saved) => assert!(saved == self.saved[name], "{what}: save {name}"),
                None => assert!(is_hurt, "{what}: cannot save {name}"),
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_flipped_bit_anywhere_is_named_and_healed() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("PLYFS_FSCK_SEED", u64::from(now.unwrap().subsec_nanos()));
    let flips = number("PLYFS_FSCK_FLIPS", 15);
    let said = format!("REPORT fsck: {flips} flips with PLYFS_FSCK_SEED={seed}\n");
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
    let mut numbers = Numbers(seed.wrapping_mul(2).wrapping_add(1));
    let world = world(&mut numbers);
    assert_eq!(check(&world, &[]), (0, vec![]));
    let truth = Truth::of(&world);
    let before = snapshot(&world);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for flip in 0..flips {
        let place = choose(&world, &mut numbers);
        let place = &place;
        damage(place, &mut numbers);
        let what = format!("seed {seed}, flip {flip}: {place:?}");
        let (status, found) = check(&world, &[]);
        assert_eq!((status, found.len()), (4, 1), "{what}: {found:?}");
        let (name, users, _) = &found[0];
        assert!(names_of(&world, place).contains(name), "{what}: {name}");
        let kind = name.split(' ').next().unwrap();
        *kinds.entry(kind.to_owned()).or_default() += 1;
        let hurt = users.iter().filter_map(|user| user.strip_prefix("image "));
        let hurt: BTreeSet<String> = hurt.map(str::to_owned).collect();
        truth.holds(&world, &hurt, &what);
        heal(&world, &what);
        let after = snapshot(&world);
        assert!(after == before, "{what}: {:?}", differing(&before, &after));
    }
    let said = format!("REPORT fsck: {kinds:?}\n");
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}

/// The paths at which two stores differ.
fn differing(one: &BTreeMap<Vec<u8>, Facts>, other: &BTreeMap<Vec<u8>, Facts>) -> Vec<String> {
    let paths: BTreeSet<&Vec<u8>> = one.keys().chain(other.keys()).collect();
    let paths = paths
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path));
    paths.map(|path| text(path)).collect()
}

/// Repairs without help, and what is left from the images' sources.
fn heal(world: &World, what: &str) {
    let (status, found) = check(world, &["--repair"]);
    if status != 1 {
        let (name, ..) = &found[0];
        assert!(
            name.starts_with("blob "),
            "{what}: only a blob needs a source, not {name}"
        );
        assert_eq!(status, 4, "{what}");
        let healed = IMAGES.iter().any(|image| {
            let from = source(world, image);
            let (status, _) = check(world, &["--repair", "--from", &from]);
            status == 1
        });
        assert!(healed, "{what}: not healed from any source");
    }
    assert_eq!(check(world, &[]), (0, vec![]), "{what}: after the repair");
}

fn flip_in(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Where a document of the image is: its manifest, or its configuration.
fn document(world: &World, name: &str, field: Option<&str>) -> PathBuf {
    let digest = images(world)[name]["digest"].as_str().unwrap().to_owned();
    let path = |digest: &str| {
        world
            .store("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    match field {
        None => path(&digest),
        Some(field) => {
            let manifest: Value =
                serde_json::from_slice(&fs::read(path(&digest)).unwrap()).unwrap();
            path(manifest[field]["digest"].as_str().unwrap())
        }
    }
}

/// The directory of the topmost layer of an image.
fn top_layer(world: &World, name: &str) -> PathBuf {
    let store = Store::open_existing(world.store("")).unwrap();
    let image = store.image(name).unwrap();
    image
        .layers
        .last()
        .unwrap()
        .path
        .parent()
        .unwrap()
        .to_owned()
}

//! `plyfs fsck`: damage of every kind is named and healed, no command takes it for right, and other images work on.
//!
//! The random test takes its seed and length from the environment:
//!
//! - `PLYFS_FSCK_SEED`: the seed; it is printed.
//! - `PLYFS_FSCK_FLIPS`: how many bits are flipped, one after another, 15 without.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::tree::{Facts, facts};
use crate::support::world::World;
use crate::support::*;
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

/// A place that can be damaged.
#[derive(Debug, Clone)]
enum Place {
    /// The bytes of a file.
    Bytes(PathBuf),
    Mode(PathBuf),
    Time(PathBuf),
    Target(PathBuf),
    Xattr(PathBuf, Vec<u8>),
}

/// Everything in the store that has a digest.
fn places(world: &World) -> Vec<Place> {
    let root = world.store("");
    let mut found = Vec::new();
    for (path, facts) in facts(&root) {
        let path = root.join(String::from_utf8(path).unwrap());
        let below = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let is_tree = below.contains("/diff");
        let checked = ["blobs/sha256/", "layers/sha256/", "index", "oci-layout"];
        let is_record = ["container.json", "places.json"]
            .iter()
            .any(|record| below.ends_with(record));
        if !is_record && !checked.iter().any(|start| below.starts_with(start)) {
            continue;
        }
        if facts.kind == "file" && facts.size > 0 {
            found.push(Place::Bytes(path.clone()));
        }
        if !is_tree {
            continue;
        }
        if facts.kind != "char" {
            found.push(Place::Time(path.clone()));
        }
        match facts.kind {
            "symlink" => found.push(Place::Target(path.clone())),
            _ => found.push(Place::Mode(path.clone())),
        }
        for name in facts
            .xattrs
            .keys()
            .filter(|name| name.starts_with(b"user."))
        {
            found.push(Place::Xattr(path.clone(), name.clone()));
        }
    }
    found
}

fn flip(bytes: &mut [u8], numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    bytes[at] ^= 1 << numbers.below(8);
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as _,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Damages one place; what hangs on the name of a changed link stays as it was.
fn damage(place: &Place, numbers: &mut Numbers) {
    match place {
        Place::Bytes(path) => {
            let before = fs::metadata(path).unwrap();
            let mut bytes = fs::read(path).unwrap();
            flip(&mut bytes, numbers);
            fs::write(path, bytes).unwrap();
            // A disk that loses a bit changes no time.
            set_mtime(path, before.mtime(), before.mtime_nsec());
        }
        Place::Mode(path) => {
            // The owner's rights stay, or this user could not read it any more.
            let mode = fs::symlink_metadata(path).unwrap().mode() & 0o7777;
            let mode = mode ^ (1 << numbers.below(6));
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Place::Time(path) => {
            let before = fs::symlink_metadata(path).unwrap();
            set_mtime(
                path,
                before.mtime() ^ (1 << numbers.below(30)),
                before.mtime_nsec(),
            );
        }
        Place::Target(path) => {
            let before = fs::symlink_metadata(path).unwrap();
            let parent = fs::metadata(path.parent().unwrap()).unwrap();
            fs::remove_file(path).unwrap();
            symlink(["tarfet", "parget", "targes"][numbers.below(3)], path).unwrap();
            set_mtime(path, before.mtime(), before.mtime_nsec());
            set_mtime(path.parent().unwrap(), parent.mtime(), parent.mtime_nsec());
        }
        Place::Xattr(path, name) => {
            let mut value = vec![0; 256];
            let length = rustix::fs::lgetxattr(path, &name[..], &mut value[..]).unwrap();
            value.truncate(length);
            flip(&mut value, numbers);
            rustix::fs::lsetxattr(path, &name[..], &value, XattrFlags::empty()).unwrap();
        }
    }
}

/// How a check must call what a place is part of: one of these.
fn names_of(world: &World, place: &Place) -> Vec<String> {
    let (Place::Bytes(path)
    | Place::Mode(path)
    | Place::Time(path)
    | Place::Target(path)
    | Place::Xattr(path, _)) = place;
    let below = path
        .strip_prefix(world.store(""))
        .unwrap()
        .to_str()
        .unwrap();
    let parts: Vec<&str> = below.split('/').collect();
    match parts.as_slice() {
        ["oci-layout"] => vec!["oci-layout".to_owned()],
        ["index.json"] => vec!["index".to_owned()],
        ["index.copy"] => vec!["index-copy".to_owned()],
        ["blobs", _, hex] => vec![
            format!("blob sha256:{hex}"),
            format!("document sha256:{hex}"),
        ],
        ["layers", _, hex, "layer.json"] => vec![format!("layer-record sha256:{hex}")],
        ["layers", _, hex, ..] => vec![format!("layer sha256:{hex}")],
        ["containers", name, "places.json"] => vec![format!("container-places {name}")],
        ["containers", name, _] => vec![format!("container {name}")],
        _ => panic!("{below}"),
    }
}

/// A place of a random kind, so that the many files of layers do not hide the others.
fn choose(world: &World, numbers: &mut Numbers) -> Place {
    let mut kinds: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for place in places(world) {
        let name = names_of(world, &place).swap_remove(0);
        let kind = name.split(' ').next().unwrap().to_owned();
        let way = match place {
            Place::Bytes(_) => "bytes",
            Place::Mode(_) => "mode",
            Place::Time(_) => "time",
            Place::Target(_) => "target",
            Place::Xattr(..) => "attribute",
        };
        kinds
            .entry(format!("{kind} {way}"))
            .or_default()
            .push(place);
    }
    let kind = numbers.below(kinds.len());
    let mut places = kinds.into_values().nth(kind).unwrap();
    let place = numbers.below(places.len());
    places.swap_remove(place)
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

#[test]
fn importing_an_image_again_heals_it() {
    let world = world(&mut Numbers(11));
    let before = snapshot(&world);
    let layer = top_layer(&world, "b:test");
    type Damage<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let damages: [Damage; 8] = [
        (
            "a flipped manifest",
            Box::new(|| flip_in(&document(&world, "b:test", None))),
        ),
        (
            "an empty configuration",
            Box::new(|| fs::write(document(&world, "b:test", Some("config")), "").unwrap()),
        ),
        (
            "a missing configuration",
            Box::new(|| fs::remove_file(document(&world, "b:test", Some("config"))).unwrap()),
        ),
        (
            "an empty record",
            Box::new(|| fs::write(layer.join("layer.json"), "").unwrap()),
        ),
        (
            "no record",
            Box::new(|| fs::remove_file(layer.join("layer.json")).unwrap()),
        ),
        (
            "a flipped file",
            Box::new(|| flip_in(&layer.join("diff/d-b/large"))),
        ),
        (
            "no tree",
            Box::new(|| fs::remove_dir_all(layer.join("diff")).unwrap()),
        ),
        (
            "a directory in the place of a blob",
            Box::new(|| {
                let path = document(&world, "b:test", Some("config"));
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }),
        ),
    ];
    for (what, damage) in damages {
        damage();
        assert_eq!(check(&world, &[]).0, 4, "{what}");
        let output = world.import(&source(&world, "b")).output().unwrap();
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        assert_eq!(check(&world, &[]), (0, vec![]), "{what}");
        let after = snapshot(&world);
        assert!(after == before, "{what}: {:?}", differing(&before, &after));
    }
}

#[test]
fn a_damaged_layer_blob_is_replaced_by_an_import() {
    let world = world(&mut Numbers(12));
    let before = snapshot(&world);
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let blobs = fs::read_dir(world.store("blobs/sha256")).unwrap();
    let largest = blobs
        .map(|blob| blob.unwrap().path())
        .max_by_key(size)
        .unwrap();
    flip_in(&largest);
    let found = check(&world, &["--repair"]);
    assert_eq!((found.0, found.1.len()), (4, 1), "{found:?}");
    for name in IMAGES {
        succeed(&mut world.import(&source(&world, name)));
    }
    assert_eq!(check(&world, &[]), (0, vec![]));
    assert!(snapshot(&world) == before);
}

#[test]
fn damage_of_one_image_stops_no_other() {
    let world = world(&mut Numbers(13));
    // Beyond repair: nothing can be read of the manifest of d.
    fs::write(document(&world, "d:test", None), [0; 500]).unwrap();
    let (status, found) = check(&world, &["--repair"]);
    assert_eq!((status, found.len()), (4, 1), "{found:?}");
    // The image of the container stays; another one goes, with its own layer and no other.
    let layers = world.names("layers/sha256").len();
    succeed(&mut world.plyfs(["rmi", "c:test"]));
    assert_eq!(world.names("layers/sha256").len(), layers - 1);
    for name in ["a:test", "b:test", "e:test"] {
        assert!(save(&world, name).is_some(), "{name}");
    }
    fs::write(top_layer(&world, "e:test").join("layer.json"), "").unwrap();
    succeed(&mut world.plyfs(["df", "-v"]));
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(world.names("layers/sha256").len(), layers - 1);
    succeed(&mut world.plyfs(["rmi", "--force", "d:test"]));
    succeed(&mut world.plyfs(["rmi", "b:test", "e:test"]));
    succeed(&mut world.plyfs(["rm", "box"]));
    succeed(&mut world.plyfs(["rmi", "a:test"]));
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(world.names("layers/sha256"), [""; 0]);
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_container_with_a_lost_record_can_be_removed() {
    let world = world(&mut Numbers(14));
    fs::write(world.store("containers/box/container.json"), "").unwrap();
    let (status, found) = check(&world, &["--repair"]);
    assert_eq!((status, found.len()), (4, 1), "{found:?}");
    // Until it is removed it is not known which layers it needs.
    let layers = world.names("layers/sha256").len();
    succeed(&mut world.plyfs(["rmi", "--force", "a:test"]));
    assert_eq!(world.names("layers/sha256").len(), layers);
    assert_eq!(succeed(&mut world.plyfs(["rm", "--all"])), "box\n");
    succeed(&mut world.plyfs(["prune"]));
    assert_eq!(world.names("layers/sha256").len(), layers - 1);
}

#[test]
fn a_lost_record_of_places_does_not_keep_a_container_from_use() {
    let world = world(&mut Numbers(19));
    fs::write(world.store("containers/box/places.json"), "").unwrap();
    let (_, said) = fail(&mut world.plyfs(["commit", "box", "made"]));
    assert!(said.contains("fsck --repair"), "{said}");
    assert_eq!(check(&world, &["--repair"]).0, 1);
    succeed(&mut world.plyfs(["commit", "box", "made"]));
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_pipe_in_the_place_of_a_record_does_not_keep_commands_waiting() {
    let world = world(&mut Numbers(21));
    for record in [
        "containers/box/places.json",
        "containers/box/container.json",
    ] {
        let path = world.store(record);
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (_, said) = fail(&mut world.plyfs(["commit", "box", "made"]));
        assert!(said.contains("no regular file"), "{said}");
    }
    // One is repaired, and the other cannot be.
    assert_eq!(check(&world, &["--repair"]).0, 5);
    succeed(&mut world.plyfs(["rm", "box"]));
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_lost_index_is_made_again_from_the_manifests() {
    let world = world(&mut Numbers(15));
    for is_there in [true, false] {
        for name in ["index.json", "index.copy"] {
            match is_there {
                true => fs::write(world.store(name), "").unwrap(),
                false => fs::remove_file(world.store(name)).unwrap(),
            }
        }
        for words in [
            &["images"][..],
            &["import", &source(&world, "a")],
            &["rmi", "a:test"],
        ] {
            let (_, said) = fail(&mut world.plyfs(words));
            let fault = if is_there { "is damaged" } else { "is missing" };
            assert!(said.contains(&format!("index.json {fault}")), "{said}");
            assert!(said.contains("\"plyfs fsck --repair\""), "{said}");
        }
        assert_eq!(check(&world, &["--repair"]).0, 1);
    }
    let found = images(&world);
    assert_eq!(found.len(), IMAGES.len());
    assert!(
        found.keys().all(|name| name.starts_with("recovered:")),
        "{found:?}"
    );
    // Names can be given again, by hand or by an import.
    let recovered = found.keys().next().unwrap();
    succeed(&mut world.plyfs(["tag", recovered, "named:again"]));
    assert_eq!(images(&world).len(), IMAGES.len() + 1);
    for name in IMAGES {
        succeed(&mut world.import(&source(&world, name)));
    }
    assert_eq!(check(&world, &[]), (0, vec![]));
}

#[test]
fn a_missing_index_is_not_called_damaged() {
    let world = world(&mut Numbers(19));
    fs::remove_file(world.store("index.json")).unwrap();
    let output = world.plyfs(["images"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success());
    assert!(
        said.contains("index.json is missing; its copy is used")
            && said.contains("plyfs fsck --repair"),
        "{said}"
    );
    let (status, said) = run(&world, ["fsck", "--repair"]);
    assert_eq!(status, 1);
    assert!(
        said.contains("index.json is missing; repaired from its copy"),
        "{said}"
    );
    assert!(world.store("index.json").exists());
}

#[test]
fn the_help_of_fsck_has_its_exit_statuses() {
    let help = succeed(&mut plyfs(["fsck", "--help"]));
    let help: Vec<&str> = help.split_whitespace().collect();
    let help = help.join(" ");
    assert!(
        help.contains("4 if something is damaged and was not repaired"),
        "{help}"
    );
}

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

#[test]
fn what_people_read_is_a_line_for_each_object() {
    let world = world(&mut Numbers(18));
    let said = succeed(&mut world.plyfs(["fsck"]));
    assert!(
        said.starts_with("checked 5 images, 1 containers, ") && said.ends_with(": no damage\n"),
        "{said}"
    );
    flip_in(&top_layer(&world, "b:test").join("diff/d-b/large"));
    let (status, said) = run(&world, ["fsck", "b:test"]);
    assert_eq!(status, 4);
    assert!(
        said.contains("/d-b/large: has other data (needed by image b:test)\n"),
        "{said}"
    );
    let (status, said) = run(&world, ["fsck", "c:test"]);
    assert_eq!((status, said.lines().count()), (0, 1), "{said}");
    let (status, said) = run(&world, ["fsck", "--repair"]);
    assert_eq!(status, 1);
    assert!(said.contains("; repaired from blob sha256:"), "{said}");
    assert_eq!(fail(&mut world.plyfs(["fsck", "nothing"])).0, 8);
    assert_eq!(fail(&mut world.plyfs(["fsck", "--no-such"])).0, 16);
    assert_eq!(fail(&mut world.plyfs(["fsck", "--from", "oci:x"])).0, 16);
}

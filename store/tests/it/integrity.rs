//! Blobs that are damaged, missing, or not what they claim: one clear error, and a store that is as
//! before. Imports that are interrupted, repeated, or at work at the same time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::tarball::Tar;
use crate::support::{World, import, message, request};
use parking_lot::Mutex;
use plyfs_store::fixture::{EncodedLayer, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Error, Event, Ownership, Progress, Silent, Store};
use serde_json::{Value, json};

/// Bytes that do not compress to nothing.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

/// What is in the file of a layer; the topmost layer is the smallest.
fn content(at: u64) -> Vec<u8> {
    noise(200_000 - 10_000 * at as usize, at + 1)
}

fn image(compression: Compression) -> ImageBuilder {
    let mut image = ImageBuilder::new();
    for at in 0..3 {
        let name = format!("f{at}");
        let layer = Layer::new([Entry::dir("d"), Entry::file(name, content(at))]);
        image = image.layer(layer, compression);
    }
    image
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(dir: &Path, digest: &Value) -> PathBuf {
    let hex = digest.as_str().unwrap().replace("sha256:", "");
    dir.join("blobs/sha256").join(hex)
}

/// A layout with its manifest, to be damaged.
struct Layout {
    dir: PathBuf,
    manifest: Value,
}

impl Layout {
    fn new(world: &World, compression: Compression) -> Self {
        let dir = world.path("src");
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        image(compression).write_oci(&dir, Some("a:1")).unwrap();
        let index = read_json(&dir.join("index.json"));
        let manifest = read_json(&blob(&dir, &index["manifests"][0]["digest"]));
        Self { dir, manifest }
    }

    fn layer(&self, at: usize) -> PathBuf {
        blob(&self.dir, &self.manifest["layers"][at]["digest"])
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.layer(at);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Puts another blob in the place of a layer, with right digest and size.
    fn replace(&mut self, at: usize, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        self.manifest["layers"][at]["digest"] = json!(digest.to_string());
        self.manifest["layers"][at]["size"] = json!(bytes.len());
        self.write_manifest();
    }

    fn write_manifest(&self) {
        let bytes = serde_json::to_vec(&self.manifest).unwrap();
        let digest = Digest::of(&bytes);
        fs::write(self.dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
        let mut index = read_json(&self.dir.join("index.json"));
        index["manifests"][0]["digest"] = json!(digest.to_string());
        index["manifests"][0]["size"] = json!(bytes.len());
        fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
    }

    fn source(&self) -> String {
        format!("oci:{}", self.dir.display())
    }
}

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

#[test]
fn damaged_blobs_are_told_apart() {
    type Damage = fn(&mut Layout);
    let damages: [(&str, Damage, &str); 9] = [
        (
            "a byte in the middle of a layer",
            |layout| {
                layout.change(1, |bytes| {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 0x10
                })
            },
            "is corrupt: its digest is sha256:",
        ),
        (
            "the last byte of a layer",
            |layout| layout.change(2, |bytes| *bytes.last_mut().unwrap() ^= 1),
            "is corrupt: its digest is sha256:",
        ),
        (
            "a layer that is cut",
            |layout| layout.change(1, |bytes| bytes.truncate(bytes.len() - 100)),
            " bytes instead of ",
        ),
        (
            "a layer that is longer",
            |layout| layout.change(1, |bytes| bytes.extend([0; 512])),
            " bytes instead of ",
        ),
        (
            "a layer that is missing",
            |layout| fs::remove_file(layout.layer(1)).unwrap(),
            " is missing",
        ),
        (
            "a size in the manifest that is wrong",
            |layout| {
                let size = layout.manifest["layers"][1]["size"].as_u64().unwrap();
                layout.manifest["layers"][1]["size"] = json!(size + 1);
                layout.write_manifest();
            },
            " bytes instead of ",
        ),
        (
            "a configuration that is damaged",
            |layout| {
                let path = blob(&layout.dir, &layout.manifest["config"]["digest"]);
                let text = fs::read_to_string(&path).unwrap().replace("linux", "Linux");
                fs::write(path, text).unwrap();
            },
            "is corrupt: its digest is sha256:",
        ),
        (
            "a configuration that is missing",
            |layout| {
                fs::remove_file(blob(&layout.dir, &layout.manifest["config"]["digest"])).unwrap()
            },
            " is missing",
        ),
        (
            "a manifest that is damaged",
            |layout| {
                let index = read_json(&layout.dir.join("index.json"));
                let path = blob(&layout.dir, &index["manifests"][0]["digest"]);
                let text = fs::read_to_string(&path)
                    .unwrap()
                    .replace("\"schemaVersion\":2", "\"schemaVersion\":3");
                fs::write(path, text).unwrap();
            },
            "is corrupt: its digest is sha256:",
        ),
    ];
    for compression in COMPRESSIONS {
        for (what, damage, expected) in &damages {
            let world = World::new();
            let mut layout = Layout::new(&world, compression);
            damage(&mut layout);
            let store = world.store();
            let index = fs::read(world.path("store/index.json")).unwrap();
            let message = message(&import(&store, &layout.source()).unwrap_err());
            assert!(
                message.contains(expected),
                "{what}, {compression:?}: {message}"
            );
            assert!(
                message.contains("sha256:"),
                "{what} does not say which: {message}"
            );
            assert_eq!(fs::read(world.path("store/index.json")).unwrap(), index);
            world.assert_untouched(what);
            let good = Layout::new(&world, compression);
            import(&store, &good.source()).unwrap();
            assert_eq!(
                fs::read(world.layers("a:1")[1].join("f1")).unwrap(),
                content(1)
            );
        }
    }
}

#[test]
fn a_layer_must_be_the_one_its_configuration_names() {
    for compression in COMPRESSIONS {
        let world = World::new();
        let mut layout = Layout::new(&world, compression);
        let other = Tar::new().file("other", b"x").end();
        let other = EncodedLayer::from_archive(&other, compression).unwrap();
        layout.replace(1, &other.blob);
        let message = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(message.contains("it unpacks to "), "{message}");
        assert!(message.contains(&other.diff_id.to_string()), "{message}");
        world.assert_untouched("a wrong DiffID");
    }
}

#[test]
fn a_layer_is_verified_even_if_one_of_that_name_is_there() {
    // The layer is in the store already; the blob that claims to be it is another.
    let world = World::new();
    let store = world.store();
    import(&store, &Layout::new(&world, Compression::Gzip).source()).unwrap();
    let mut layout = Layout::new(&world, Compression::Gzip);
    let other = Tar::new().file("other", b"x").end();
    let other = EncodedLayer::from_archive(&other, Compression::Gzip).unwrap();
    layout.replace(1, &other.blob);
    let refused = message(&import(&store, &layout.source()).unwrap_err());
    assert!(refused.contains("it unpacks to "), "{refused}");
    world.assert_untouched("a blob that claims to be another");
}

#[test]
fn blobs_and_layers_that_are_there_do_not_make_an_image_of_any_pairing() {
    let world = World::new();
    let store = world.store();
    import(&store, &Layout::new(&world, Compression::Zstd).source()).unwrap();
    let mut layout = Layout::new(&world, Compression::Zstd);
    let layers = layout.manifest["layers"].as_array_mut().unwrap();
    layers.swap(0, 1);
    layout.write_manifest();
    let refused = message(&import(&store, &layout.source()).unwrap_err());
    assert!(refused.contains("it unpacks to "), "{refused}");
    world.assert_untouched("swapped layers");
    // The same layer from another blob is verified once, and then known.
    let gzip = Layout::new(&world, Compression::Gzip).source();
    for read in [true, false] {
        let watcher = Watcher::default();
        let imported = store
            .import(&request(&gzip, Ownership::Override), &watcher)
            .unwrap();
        assert_eq!(imported.unpacked, 0);
        assert_eq!(watcher.read.load(Ordering::SeqCst) > 0, read);
    }
}

#[test]
fn compressed_streams_are_read_to_their_end() {
    for (compression, garbage) in [
        (Compression::Gzip, &b"garbage"[..]),
        (Compression::Gzip, &[0; 512]),
        (Compression::Zstd, b"garbage"),
        (Compression::Zstd, &[0; 512]),
    ] {
        let world = World::new();
        let mut layout = Layout::new(&world, compression);
        let mut bytes = fs::read(layout.layer(1)).unwrap();
        bytes.extend(garbage);
        layout.replace(1, &bytes);
        let refused = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(refused.contains("it is not valid "), "{refused}");
        world.assert_untouched("garbage after a stream");
        // Cut, with right digest and size.
        let mut layout = Layout::new(&world, compression);
        let bytes = fs::read(layout.layer(1)).unwrap();
        layout.replace(1, &bytes[..bytes.len() - 6]);
        let refused = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(refused.contains("it is not valid "), "{refused}");
        world.assert_untouched("a stream that is cut");
    }
}

/// Registries and builders recompress layers and leave the media type, and skopeo and Podman take
/// them: the DiffID says whether the right layer came out.
#[test]
fn a_media_type_may_name_another_compression() {
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for media_type in [
            oci.to_owned(),
            format!("{oci}+gzip"),
            format!("{oci}+zstd"),
            format!("{oci}+gzip; charset=utf-8"),
            docker.to_owned(),
            format!("{docker}.gzip"),
            String::new(),
            "application/octet-stream".to_owned(),
        ] {
            let world = World::new();
            let mut layout = Layout::new(&world, compression);
            layout.manifest["layers"][0]["mediaType"] = json!(media_type);
            layout.write_manifest();
            let imported = import(&world.store(), &layout.source()).unwrap();
            assert_eq!(imported.unpacked, imported.layers, "{media_type}");
        }
    }
    for media_type in [
        format!("{oci}+gzip+encrypted"),
        "application/vnd.oci.image.layer.v1.squashfs".to_owned(),
        "application/vnd.oci.image.config.v1+json".to_owned(),
    ] {
        let world = World::new();
        let mut layout = Layout::new(&world, Compression::Gzip);
        layout.manifest["layers"][0]["mediaType"] = json!(media_type);
        layout.write_manifest();
        let refused = message(&import(&world.store(), &layout.source()).unwrap_err());
        assert!(refused.contains(" are not supported"), "{refused}");
        world.assert_untouched("a media type of something else");
    }
}

/// Watches an import, and interrupts it after so many layers have been published.
#[derive(Default)]
struct Watcher {
    read: AtomicU64,
    published: AtomicU64,
    stop_after: Option<u64>,
    planned: Mutex<Vec<bool>>,
}

impl Progress for Watcher {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Planned { layers } => {
                *self.planned.lock() = layers.iter().map(|layer| layer.present).collect();
            }
            Event::Read { bytes, layer } => {
                self.read.fetch_max(*bytes, Ordering::SeqCst);
                // The smallest layer comes last; it does not overtake what is to stop it.
                while *layer == 2 && self.stop_after.is_some() && !self.interrupted() {
                    std::thread::yield_now();
                }
            }
            Event::Published { .. } => {
                self.published.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn interrupted(&self) -> bool {
        let published = self.published.load(Ordering::SeqCst);
        self.stop_after.is_some_and(|stop| published >= stop)
    }
}

#[test]
fn an_interrupted_import_is_finished_without_reading_twice() {
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let store = world.store();
    let request = request(&layout.source(), Ownership::Override);
    let stopped = Watcher {
        stop_after: Some(1),
        ..Watcher::default()
    };
    let error = store.import(&request, &stopped).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    world.assert_untouched("an interrupted import");
    assert!(store.images().unwrap().is_empty());
    let done = fs::read_dir(world.path("store/layers/sha256"))
        .unwrap()
        .count();
    assert!((1..3).contains(&done), "{done} layers");
    // The source of what is published is not even needed any more.
    for at in 0..3 {
        let hex = layout.layer(at).file_name().unwrap().to_owned();
        if world.path("store/blobs/sha256").join(hex).exists() {
            fs::remove_file(layout.layer(at)).unwrap();
        }
    }
    let again = Watcher::default();
    let imported = store.import(&request, &again).unwrap();
    assert_eq!((imported.layers, imported.unpacked), (3, 3 - done));
    assert_eq!(
        again
            .planned
            .lock()
            .iter()
            .filter(|present| **present)
            .count(),
        done
    );
    for at in 0..3 {
        let bytes = fs::read(world.layers("a:1")[at].join(format!("f{at}"))).unwrap();
        assert_eq!(bytes, content(at as u64));
    }
    let third = Watcher::default();
    assert_eq!(store.import(&request, &third).unwrap().unpacked, 0);
    assert_eq!(third.read.load(Ordering::SeqCst), 0, "read what was there");
}

#[test]
fn leftovers_of_dead_processes_are_removed_and_those_of_living_ones_are_not() {
    let world = World::new();
    let store = world.store();
    let staging = world.path("store/staging");
    fs::create_dir_all(staging.join("4194999-0/layer-0/diff/d")).unwrap();
    fs::write(staging.join("4194999-0/layer-0/diff/f"), "x").unwrap();
    let alive = staging.join("4194998-0");
    fs::create_dir(&alive).unwrap();
    let lock = fs::File::open(&alive).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let layout = Layout::new(&world, Compression::Zstd);
    import(&store, &layout.source()).unwrap();
    let left: Vec<_> = fs::read_dir(&staging)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [alive]);
    drop(lock);
    import(&store, &layout.source()).unwrap();
    world.assert_untouched("leftovers");
}

#[test]
fn a_store_survives_every_half_finished_publication() {
    // What a crash between two renames leaves: a blob without its layer, a layer without its blob,
    // both without an index.
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let complete = Store::open(world.path("complete")).unwrap();
    import(&complete, &layout.source()).unwrap();
    let names = |kind: &str| -> Vec<PathBuf> {
        let dir = fs::read_dir(world.path("complete").join(kind)).unwrap();
        dir.map(|entry| entry.unwrap().path()).collect()
    };
    let layers = names("layers/sha256");
    for lost in [layers.clone(), names("blobs/sha256")].concat() {
        let store = Store::open(world.path("half")).unwrap();
        import(&store, &layout.source()).unwrap();
        let gone = world
            .path("half")
            .join(lost.strip_prefix(world.path("complete")).unwrap());
        if gone.is_dir() {
            fs::remove_dir_all(&gone).unwrap();
        } else {
            fs::remove_file(&gone).unwrap();
        }
        fs::write(
            world.path("half/index.json"),
            r#"{"schemaVersion":2,"manifests":[]}"#,
        )
        .unwrap();
        let imported = import(&store, &layout.source()).unwrap();
        assert_eq!(imported.unpacked, usize::from(layers.contains(&lost)));
        assert!(gone.exists());
        assert_eq!(store.image("a:1").unwrap().layers.len(), 3);
        fs::remove_dir_all(world.path("half")).unwrap();
    }
}

#[test]
fn imports_at_the_same_time_all_succeed() {
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let docker = world.path("d.tar");
    image(Compression::None)
        .write_docker_archive(&docker, Some("docker:1"))
        .unwrap();
    let store = world.store();
    std::thread::scope(|scope| {
        for at in 0..6 {
            let (store, layout, docker) = (&store, &layout, &docker);
            scope.spawn(move || {
                let source = match at % 2 {
                    0 => layout.source(),
                    _ => format!("docker-archive:{}", docker.display()),
                };
                let mut request = request(&source, Ownership::Override);
                request.name = Some(format!("name:{at}").parse().unwrap());
                store.import(&request, &Silent).unwrap();
                // What is named is whole, at any time.
                for image in store.images().unwrap() {
                    let image = store.image(image.name.as_str()).unwrap();
                    for (at, layer) in image.layers.iter().enumerate() {
                        assert!(layer.path.join(format!("f{at}")).exists());
                    }
                }
            });
        }
    });
    assert_eq!(store.images().unwrap().len(), 6);
    assert_eq!(
        fs::read_dir(world.path("store/layers/sha256"))
            .unwrap()
            .count(),
        3
    );
    world.assert_untouched("imports at the same time");
}

#[test]
fn the_source_is_not_shared_with_the_store() {
    // A process that can write the source cannot change what was verified.
    let world = World::new();
    let layout = Layout::new(&world, Compression::Gzip);
    let store = world.store();
    import(&store, &layout.source()).unwrap();
    for at in 0..3 {
        let hex = layout.layer(at).file_name().unwrap().to_owned();
        fs::write(layout.layer(at), b"changed afterwards").unwrap();
        let kept = fs::read(world.path("store/blobs/sha256").join(&hex)).unwrap();
        assert_eq!(Digest::of(&kept).hex(), hex.to_str().unwrap());
    }
}

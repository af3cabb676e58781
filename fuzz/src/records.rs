//! Records of a store: `layer.json`, `container.json`, `places.json`, `index.json` and its copy.
//!
//! The first line of the input says which is replaced, and whether the new one gets a seal that fits:
//! `layer sealed`. The rest is its content, in which `@DIFF@` and `@MANIFEST@` are those of the image in the
//! store.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{
    CheckRequest, Compression, ContainerName, Digest, ImportRequest, Ownership, Silent, Source,
    Store,
};

use crate::check_message;
use crate::lines::cut;
use crate::world::World;

pub(crate) const WORDS: &[&str] = &[
    "../one",
    "/",
    "\\u001b",
    "\"name\":\"two\"",
    "\"name\":\"../../x\"",
    "\"ownership\":\"real\"",
    "\"diff_ids\":[]",
    "\"places\":[]",
    "\"seal\":\"sha256:",
    "layer sealed\n",
    "container sealed\n",
    "places sealed\n",
    "index plain\n",
    "copy sealed\n",
];

/// A store with an image and two containers, made once for each thread.
struct Filled {
    world: World,
    store: Store,
    diff_id: Digest,
    manifest: Digest,
}

thread_local! {
    static FILLED: RefCell<Option<Filled>> = const { RefCell::new(None) };
}

pub(crate) fn run(data: &[u8]) {
    FILLED.with_borrow_mut(|slot| {
        // Taken out, so that a run that panics leaves no damaged store to the next.
        let filled = slot.take().unwrap_or_else(fill);
        replace(&filled, data);
        *slot = Some(filled);
    });
}

fn fill() -> Filled {
    let world = World::new();
    let layer = Layer::new([Entry::dir("d"), Entry::file("d/f", "data")]);
    let image = ImageBuilder::new().layer(layer, Compression::Gzip);
    let dir = world.path("source");
    let manifest = image.write_oci(&dir, Some("test:1")).unwrap();
    let store = Store::open(world.path("store")).unwrap();
    let source = Source::parse(&format!("oci:{}", dir.display())).unwrap();
    let request = ImportRequest::new(source, Ownership::Override);
    store.import(&request, &Silent).unwrap();
    let image = store.image("test:1").unwrap();
    for name in ["one", "two"] {
        let name = name.parse().unwrap();
        store
            .create_container(Some(&name), &image, Ownership::Override)
            .unwrap();
    }
    let diff_id = image.layers[0].diff_id;
    Filled {
        world,
        store,
        diff_id,
        manifest,
    }
}

fn replace(filled: &Filled, data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n');
    let (head, content) = data.split_at(end.unwrap_or(data.len()));
    let content = content.strip_prefix(b"\n").unwrap_or(content);
    let (which, seal) = cut(head);
    let Some(path) = path(filled, which) else {
        return;
    };
    let mut content = marked(filled, content);
    if seal == b"sealed" {
        content = sealed(content);
    }
    let before = fs::read(&path).ok();
    fs::write(&path, content).unwrap();
    use_store(filled);
    match before {
        Some(before) => fs::write(&path, before).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }
    filled.world.check(&["store", "source"]);
    filled.world.check_staging("store");
}

fn path(filled: &Filled, which: &[u8]) -> Option<PathBuf> {
    let layer = format!("layers/sha256/{}/layer.json", filled.diff_id.hex());
    let file = match which {
        b"layer" => &layer,
        b"container" => "containers/one/container.json",
        b"places" => "containers/one/places.json",
        b"index" => "index.json",
        b"copy" => "index.copy",
        _ => return None,
    };
    Some(filled.store.path().join(file))
}

fn marked(filled: &Filled, content: &[u8]) -> Vec<u8> {
    match String::from_utf8(content.to_vec()) {
        Ok(text) => text
            .replace("@DIFF@", &filled.diff_id.to_string())
            .replace("@MANIFEST@", &filled.manifest.to_string())
            .into_bytes(),
        Err(_) => content.to_vec(),
    }
}

/// An object with the seal that fits, whatever is in it.
fn sealed(mut object: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&object);
    if object.pop() == Some(b'}') {
        object.extend(format!(",\"seal\":\"{digest}\"}}").into_bytes());
    }
    object
}

/// Everything that reads records. Errors are fine if they can be shown.
fn use_store(filled: &Filled) {
    fn checked<T>(result: plyfs_store::Result<T>) -> Option<T> {
        result
            .map_err(|error| check_message(&error.to_string()))
            .ok()
    }
    let store = &filled.store;
    checked(store.images());
    checked(store.image("test:1"));
    checked(store.containers());
    checked(store.usage());
    for name in ["one", "two"] {
        let name: ContainerName = name.parse().unwrap();
        let Some(container) = checked(store.container(&name)) else {
            continue;
        };
        let own = store.path().join("containers").join(name.as_str());
        assert_eq!(container.upper, own.join("upper"), "the upper of another");
        assert_eq!(container.work, own.join("work"), "the work of another");
        for layer in &container.layers {
            assert!(layer.path.starts_with(store.path()));
        }
        checked(store.container_image(&container.record));
        checked(container.places());
        checked(container.lock());
    }
    let check = CheckRequest {
        image: None,
        repair: false,
        source: None,
        ownership: Ownership::Override,
    };
    for finding in checked(store.check(&check, &Silent))
        .into_iter()
        .flat_map(|report| report.findings)
    {
        check_message(&finding.object.to_string());
        check_message(&finding.fault.to_string());
    }
}

//! Blobs that are damaged, missing, or not what they claim: one clear error, and a store that is as
//! before. Imports that are interrupted, repeated, or at work at the same time.

mod damaged;
mod interrupted;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::tarball::Tar;
use crate::support::{World, import, message, noise, request};
use parking_lot::Mutex;
use plyfs_store::fixture::{EncodedLayer, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Error, Event, Ownership, Progress, Silent, Store};
use serde_json::{Value, json};

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

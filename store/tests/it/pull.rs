//! Pulling from a remote: a fake one, which breaks off, lies, and counts what it gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{World, noise};
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{
    Compression, Digest, Error, Event, ImportRequest, Limits, Ownership, Progress, PullRequest,
    Remote, RemoteBlob, RemoteError, RemoteManifest, Silent, Source, Store,
};

/// How much a blob gives at once, in bytes.
const PIECE: usize = 10_000;

/// A layout as a remote.
#[derive(Debug, Default)]
struct Fake {
    manifest: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
    /// After so many bytes of blobs in all the connection breaks; 0 means never.
    breaks_after: AtomicU64,
    /// How many bytes of each blob were given.
    given: Mutex<BTreeMap<String, u64>>,
    all: Arc<AtomicU64>,
}

impl Fake {
    /// What a layout has. Its index names one image.
    fn of(layout: &Path) -> Self {
        let mut blobs = BTreeMap::new();
        for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            blobs.insert(format!("sha256:{name}"), fs::read(path).unwrap());
        }
        let index = fs::read(layout.join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap();
        Self {
            manifest: blobs[digest].clone(),
            blobs,
            ..Self::default()
        }
    }

    fn layer_bytes(&self) -> u64 {
        let manifest: serde_json::Value = serde_json::from_slice(&self.manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["size"].as_u64().unwrap()).sum()
    }

    fn given_in_all(&self) -> u64 {
        let manifest: serde_json::Value = serde_json::from_slice(&self.manifest).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let given = self.given.lock().unwrap();
        given
            .iter()
            .filter(|(name, _)| **name != config)
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

/// A fake that is shared with its blobs.
#[derive(Debug)]
struct Shared(Arc<Fake>);

impl Remote for Shared {
    fn name(&self) -> String {
        "fake.example/app:1".to_owned()
    }

    fn repository(&self) -> String {
        "fake.example/app".to_owned()
    }

    fn manifest(&self, digest: Option<&Digest>, _: u64) -> Result<RemoteManifest, RemoteError> {
        let bytes = match digest {
            None => self.0.manifest.clone(),
            Some(digest) => self
                .0
                .blobs
                .get(&digest.to_string())
                .ok_or("not found")?
                .clone(),
        };
        let document: serde_json::Value = serde_json::from_slice(&bytes)?;
        let kind = match document.get("manifests") {
            Some(_) => "index",
            None => "manifest",
        };
        Ok(RemoteManifest {
            media_type: format!("application/vnd.oci.image.{kind}.v1+json"),
            bytes,
        })
    }

    fn blob(
        &self,
        digest: &Digest,
        _: u64,
        position: u64,
    ) -> Result<Box<dyn RemoteBlob>, RemoteError> {
        let name = digest.to_string();
        let bytes = self.0.blobs.get(&name).ok_or("not found")?.clone();
        Ok(Box::new(Coming {
            fake: Arc::clone(&self.0),
            name,
            bytes,
            position: usize::try_from(position).unwrap(),
        }))
    }
}

struct Coming {
    fake: Arc<Fake>,
    name: String,
    bytes: Vec<u8>,
    position: usize,
}

impl RemoteBlob for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RemoteError> {
        let left = self.bytes.len().saturating_sub(self.position);
        let count = left.min(buffer.len()).min(PIECE);
        let limit = self.fake.breaks_after.load(Ordering::Relaxed);
        let all = self.fake.all.fetch_add(count as u64, Ordering::Relaxed);
        if limit != 0 && all + count as u64 > limit {
            return Err("the connection broke".into());
        }
        buffer[..count].copy_from_slice(&self.bytes[self.position..self.position + count]);
        self.position += count;
        let mut given = self.fake.given.lock().unwrap();
        *given.entry(self.name.clone()).or_default() += count as u64;
        Ok(count)
    }
}

/// What is in the file of a layer.
fn content(seed: u64) -> Vec<u8> {
    noise(300_000, 2 * seed)
}

fn image(seeds: &[u64]) -> ImageBuilder {
    seeds.iter().fold(ImageBuilder::new(), |image, &seed| {
        let file = Entry::file(format!("file{seed}"), content(seed));
        image.layer(Layer::new([Entry::dir("."), file]), Compression::Gzip)
    })
}

/// A layout of an image, and it as a remote.
fn fake(world: &World, name: &str, seeds: &[u64]) -> Arc<Fake> {
    let layout = world.path(name);
    image(seeds).write_oci(&layout, Some("test")).unwrap();
    Arc::new(Fake::of(&layout))
}

fn request(fake: &Arc<Fake>) -> PullRequest {
    PullRequest {
        remote: Arc::new(Shared(Arc::clone(fake))),
        name: "fake.example/app:1".parse().unwrap(),
        platform: None,
        ownership: Ownership::Override,
        limits: Limits::default(),
    }
}

/// The names in a directory; none if it does not exist.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_pulled_image_is_what_an_import_makes_of_it() {
    let world = World::new();
    let fake = fake(&world, "layout", &[1, 2]);
    let pulled = Store::open(world.path("pulled")).unwrap();
    let done = pulled.pull(&request(&fake), &Silent).unwrap();
    assert_eq!((done.layers, done.unpacked), (2, 2));
    let imported = Store::open(world.path("imported")).unwrap();
    let source = Source::parse(&format!("oci:{}:test", world.path("layout").display())).unwrap();
    let import = ImportRequest::new(source, Ownership::Override);
    let other = imported.import(&import, &Silent).unwrap();
    assert_eq!(done.manifest_digest, other.manifest_digest);
    for below in ["layers/sha256", "blobs/sha256"] {
        let of = |store: &Store| names(&store.path().join(below));
        assert_eq!(of(&pulled), of(&imported), "{below}");
    }
    let tree = |store: &Store, name: &str| {
        let image = store.image(name).unwrap();
        fs::read(image.layers[0].path.join("file1")).unwrap()
    };
    assert_eq!(tree(&pulled, "fake.example/app:1"), content(1));
    assert_eq!(tree(&imported, other.name.as_str()), content(1));
    assert!(names(&pulled.path().join("downloads")).is_empty());
    let layer = pulled.image("fake.example/app:1").unwrap();
    assert_eq!(layer.layers.len(), 2);
    assert_eq!(fake.given_in_all(), fake.layer_bytes());
}

/// However often the connection breaks, no byte that was kept comes again.
#[test]
fn a_pull_that_breaks_off_goes_on_at_its_byte() {
    let world = World::new();
    let fake = fake(&world, "layout", &[1, 2, 3]);
    let store = Store::open(world.path("store")).unwrap();
    let mut broken = 0;
    loop {
        let all = fake.all.load(Ordering::Relaxed);
        fake.breaks_after.store(all + 130_000, Ordering::Relaxed);
        match store.pull(&request(&fake), &Silent) {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error.to_string(), "the connection broke");
                assert!(store.image("fake.example/app:1").is_err());
                broken += 1;
                assert!(broken < 60, "no progress");
            }
        }
    }
    assert!(broken > 3, "it broke {broken} times");
    // The pieces that were refused were not given.
    assert_eq!(fake.given_in_all(), fake.layer_bytes());
    assert!(names(&store.path().join("downloads")).is_empty());
}

#[test]
fn what_a_crash_damaged_of_a_download_is_fetched_again() {
    let world = World::new();
    let fake = fake(&world, "layout", &[1]);
    let store = Store::open(world.path("store")).unwrap();
    fake.breaks_after.store(200_000, Ordering::Relaxed);
    store.pull(&request(&fake), &Silent).unwrap_err();
    let downloads = store.path().join("downloads");
    let [name] = &names(&downloads)[..] else {
        panic!("{:?}", names(&downloads))
    };
    let path = downloads.join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    fake.breaks_after.store(0, Ordering::Relaxed);
    store.pull(&request(&fake), &Silent).unwrap();
    let image = store.image("fake.example/app:1").unwrap();
    assert_eq!(
        fs::read(image.layers[0].path.join("file1")).unwrap(),
        content(1)
    );
}

#[test]
fn content_that_is_wrong_is_refused_and_not_kept() {
    let world = World::new();
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 3] = [
        ("another byte", |bytes| bytes[100_000] ^= 1),
        ("too little", |bytes| bytes.truncate(100_000)),
        ("nothing", Vec::clear),
    ];
    for (at, (what, change)) in changes.into_iter().enumerate() {
        let good = fake(&world, &format!("layout{at}"), &[1]);
        let manifest: serde_json::Value = serde_json::from_slice(&good.manifest).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
        let mut blobs = good.blobs.clone();
        change(blobs.get_mut(&layer).unwrap());
        let bad = Arc::new(Fake {
            manifest: good.manifest.clone(),
            blobs,
            ..Fake::default()
        });
        let store = Store::open(world.path(&format!("store{at}"))).unwrap();
        let error = store.pull(&request(&bad), &Silent).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 1, "{what}: {error}");
        assert!(store.image("fake.example/app:1").is_err(), "{what}");
        for below in ["downloads", "layers/sha256", "staging"] {
            let left = names(&store.path().join(below));
            assert!(left.is_empty(), "{what}: {below} has {left:?}");
        }
        store.pull(&request(&good), &Silent).unwrap();
    }
}

#[test]
fn a_manifest_of_another_digest_is_refused() {
    let world = World::new();
    let good = fake(&world, "layout", &[1]);
    let digest = Digest::of(&good.manifest).to_string();
    let mut changed = good.manifest.clone();
    changed.push(b' ');
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": good.manifest.len(),
        }],
    });
    let mut blobs = good.blobs.clone();
    let bytes = serde_json::to_vec(&index).unwrap();
    let pull = |name: &str, blobs| {
        let fake = Arc::new(Fake {
            manifest: bytes.clone(),
            blobs,
            ..Fake::default()
        });
        let store = Store::open(world.path(name)).unwrap();
        store.pull(&request(&fake), &Silent)
    };
    assert_eq!(
        pull("good", blobs.clone())
            .unwrap()
            .manifest_digest
            .to_string(),
        digest
    );
    blobs.insert(digest, changed);
    let error = pull("bad", blobs).unwrap_err().to_string();
    assert!(error.contains("is corrupt"), "{error}");
}

/// Two pulls and an import of images that share layers: each layer is fetched once at most.
#[test]
fn pulls_at_the_same_time_fetch_each_layer_once() {
    let world = World::new();
    let (one, two) = (fake(&world, "one", &[1, 2]), fake(&world, "two", &[2, 3]));
    let store = Store::open(world.path("store")).unwrap();
    let source = Source::parse(&format!("oci:{}:test", world.path("one").display())).unwrap();
    let import = ImportRequest::new(source, Ownership::Override);
    std::thread::scope(|scope| {
        for fake in [&one, &two] {
            scope.spawn(|| store.pull(&request(fake), &Silent).unwrap());
        }
        scope.spawn(|| store.import(&import, &Silent).unwrap());
    });
    let mut given: BTreeMap<String, u64> = one.given.lock().unwrap().clone();
    for (name, bytes) in two.given.lock().unwrap().iter() {
        *given.entry(name.clone()).or_default() += bytes;
    }
    for (name, bytes) in given {
        let size = one
            .blobs
            .get(&name)
            .or_else(|| two.blobs.get(&name))
            .unwrap()
            .len() as u64;
        assert!(bytes <= size, "{name}: {bytes} of {size}");
    }
    assert!(names(&store.path().join("downloads")).is_empty());
}

/// Asks for an end after so many events.
struct Impatient {
    events: AtomicUsize,
    asked: AtomicBool,
}

impl Progress for Impatient {
    fn event(&self, _: &Event<'_>) {
        if self.events.fetch_add(1, Ordering::Relaxed) > 10 {
            self.asked.store(true, Ordering::Relaxed);
        }
    }

    fn interrupted(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

#[test]
fn an_interrupted_pull_keeps_what_came() {
    let world = World::new();
    let fake = fake(&world, "layout", &[1, 2]);
    let store = Store::open(world.path("store")).unwrap();
    let impatient = Impatient {
        events: AtomicUsize::new(0),
        asked: AtomicBool::new(false),
    };
    let error = store.pull(&request(&fake), &impatient).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    let kept: u64 = names(&store.path().join("downloads"))
        .iter()
        .map(|name| {
            fs::metadata(store.path().join("downloads").join(name))
                .unwrap()
                .len()
        })
        .sum();
    assert!(kept > 0);
    store.pull(&request(&fake), &Silent).unwrap();
    assert_eq!(fake.given_in_all(), fake.layer_bytes());
}

#[test]
fn downloads_that_broke_off_can_be_removed() {
    let world = World::new();
    let fake = fake(&world, "layout", &[1]);
    let store = Store::open(world.path("store")).unwrap();
    fake.breaks_after.store(200_000, Ordering::Relaxed);
    store.pull(&request(&fake), &Silent).unwrap_err();
    let downloads = store.path().join("downloads");
    let path = downloads.join(&names(&downloads)[0]);
    let held = fs::File::open(&path).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(store.remove_downloads().unwrap(), 0);
    drop(held);
    let size = fs::metadata(&path).unwrap().len();
    assert_eq!(store.remove_downloads().unwrap(), size);
    assert!(names(&downloads).is_empty());
}

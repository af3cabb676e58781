//! The parts beside the comparison: what the overlay and the store cost without a mount, a kernel's
//! requests and other processes around them.
//!
//!     cargo bench --bench micro

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement that cannot go on ends"
)]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput};
use plyfs_fs::attr::{Caller, Device};
use plyfs_fs::{Config, LowerLayer, Marks, Overlay, Patience, Records, Room, UpperLayer};
use rustix::fs::RenameFlags;

const LAYERS: usize = 4;
const FILES: usize = 100;
const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
    umask: 0o022,
};
const S_IFREG: u32 = 0o100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    overlay(&mut criterion);
    import(&mut criterion);
    criterion.final_summary();
}

/// Four layers that share a directory, and an upper one.
fn stack(dir: &Path) -> Overlay {
    let mut lowers = Vec::new();
    for layer in 0..LAYERS {
        let shared = dir.join(format!("{layer}/shared"));
        fs::create_dir_all(&shared).unwrap();
        for file in 0..FILES / LAYERS {
            fs::write(shared.join(format!("l{layer}f{file}")), "data").unwrap();
        }
        lowers.insert(0, LowerLayer::new(dir.join(layer.to_string())));
    }
    for name in ["upper", "work"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    Overlay::open(&Config {
        lowers,
        upper: Some(UpperLayer {
            path: dir.join("upper"),
            work: dir.join("work"),
            records: Records::None,
            marks: Marks::Own,
            archive_names: false,
        }),
        ..Config::default()
    })
    .unwrap()
}

/// A directory in memory if there is one, so that no disk is measured.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn overlay(criterion: &mut Criterion) {
    let dir = scratch();
    let overlay = stack(dir.path());
    let root = overlay.root();
    let shared = overlay.lookup(root, OsStr::new("shared")).unwrap().id;
    let mut group = criterion.benchmark_group("overlay");

    let lookup = |name: &str| {
        let found = overlay.lookup(shared, OsStr::new(name));
        if let Ok(found) = found {
            overlay.forget(found.id, 1);
        }
    };
    group.bench_function("lookup, top layer", |b| b.iter(|| lookup("l3f1")));
    group.bench_function("lookup, bottom layer", |b| b.iter(|| lookup("l0f1")));
    group.bench_function("lookup, missing", |b| b.iter(|| lookup("none")));
    group.bench_function("readdir of 100, again", |b| {
        b.iter(|| overlay.readdir(shared, 0, |_| Room::Taken).unwrap());
    });

    let room = overlay.mkdir(&CALLER, root, OsStr::new("room"), 0o755);
    let room = room.unwrap().id;
    let create = |name: &str| {
        let mode = S_IFREG | 0o644;
        let made = overlay.mknod(&CALLER, room, OsStr::new(name), mode, Device::default());
        overlay.forget(made.unwrap().id, 1);
    };
    let unlink = |name: &str| overlay.unlink(room, OsStr::new(name)).unwrap();
    group.bench_function("create", |b| {
        b.iter_batched(
            || overlay.unlink(room, OsStr::new("file")).ok(),
            |_| create("file"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("unlink", |b| {
        b.iter_batched(
            || create("other"),
            |()| unlink("other"),
            BatchSize::PerIteration,
        );
    });
    let (mut from, mut to) = ("moved", "again");
    create(from);
    group.bench_function("rename", |b| {
        b.iter(|| {
            let (old, new) = ((room, OsStr::new(from)), (room, OsStr::new(to)));
            let flags = RenameFlags::empty();
            overlay.rename(old, new, flags, Patience::Much).unwrap();
            std::mem::swap(&mut from, &mut to);
        });
    });
    group.finish();
}

/// An image of one layer, imported whole: the archive is read, verified and written out.
fn import(criterion: &mut Criterion) {
    use plyfs_store::build::{Entry, ImageBuilder, Layer};
    use plyfs_store::{Compression, ImportRequest, Ownership, Silent, Source, Store};

    const SIZE: usize = 16 << 10;
    const COUNT: usize = 500;
    let dir = scratch();
    let entry = |i| Entry::file(format!("f{i}"), vec![u8::try_from(i % 251).unwrap(); SIZE]);
    let layer = Layer::new((0..COUNT).map(entry));
    let image = ImageBuilder::new().layer(layer, Compression::None);
    let layout = dir.path().join("image");
    image.write_oci(&layout, Some("test")).unwrap();
    let source = Source::parse(&format!("oci:{}:test", layout.display())).unwrap();
    let request = ImportRequest::new(source, Ownership::Override);

    let mut group = criterion.benchmark_group("store");
    group.sample_size(10);
    group.throughput(Throughput::Bytes((SIZE * COUNT) as u64));
    group.bench_function("import of 500 files of 16 KiB", |b| {
        b.iter_batched(
            || tempfile::tempdir_in(dir.path()).unwrap(),
            |at| {
                let store = Store::open(at.path().join("store")).unwrap();
                store.import(&request, &Silent).unwrap();
                at
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

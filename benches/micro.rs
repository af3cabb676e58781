//! The parts beside the comparison: what the overlay and the store cost without a mount, a kernel's
//! requests and other processes around them.
//!
//!     cargo bench --bench micro

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement that cannot go on ends"
)]

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput};
use plyfs_fs::types::{Caller, Device, SetAttr, SetTime};
use plyfs_fs::{
    Config, Fill, LowerLayer, MayBlock, Overlay, OverrideStatMode, UpperLayer, XattrTrust,
};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, StatxFlags};

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
    upper(&mut criterion);
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
            records: OverrideStatMode::None,
            marks: XattrTrust::Own,
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
        b.iter(|| overlay.readdir(shared, 0, |_| Fill::More).unwrap());
    });

    let room = overlay.mkdir(&CALLER, root, OsStr::new("room"), 0o755);
    let room = room.unwrap().id;
    let made = Cell::new(0);
    let id = || made.get();
    let create = |name: &str| {
        // A name that is not there, which the kernel asks for first.
        assert!(overlay.lookup(room, OsStr::new(name)).is_err());
        let (mode, device) = (S_IFREG | 0o644, Device::default());
        let entry = overlay.mknod(&CALLER, room, OsStr::new(name), mode, device);
        made.set(entry.unwrap().id);
        overlay.getattr(room).unwrap();
    };
    // The time of a regular file that the kernel keeps, and tells with each change of a name of it.
    let tell_time = || {
        let mtime = overlay.getattr(id()).unwrap().mtime;
        let mtime = Some(SetTime::At(mtime));
        SetAttr {
            mtime,
            ..SetAttr::default()
        }
    };
    let unlink = |name: &str, time: &SetAttr| {
        overlay.unlink(room, OsStr::new(name)).unwrap();
        overlay.setattr(&CALLER, id(), time).unwrap();
        overlay.getattr(room).unwrap();
        overlay.forget(id(), 1);
    };
    let each = BatchSize::PerIteration;
    // The file is not there if another measurement is the only one that was asked for.
    let clear = || {
        if id() != 0 {
            unlink("file", &tell_time());
        }
    };
    group.bench_function("create: LOOKUP, MKNOD, GETATTR", |b| {
        b.iter_batched(clear, |()| create("file"), each);
    });
    clear();
    group.bench_function("unlink: UNLINK, SETATTR, GETATTR, FORGET", |b| {
        let make = || {
            create("other");
            tell_time()
        };
        b.iter_batched(make, |time| unlink("other", &time), each);
    });
    let (mut from, mut to) = ("moved", "again");
    create(from);
    let time = tell_time();
    group.bench_function("rename: LOOKUP, RENAME, SETATTR, GETATTR", |b| {
        b.iter(|| {
            let (old, new) = ((room, OsStr::new(from)), (room, OsStr::new(to)));
            let flags = RenameFlags::empty();
            assert!(overlay.lookup(room, new.1).is_err());
            overlay.rename(old, new, flags, MayBlock::Yes).unwrap();
            overlay.setattr(&CALLER, id(), &time).unwrap();
            overlay.getattr(room).unwrap();
            std::mem::swap(&mut from, &mut to);
        });
    });
    let name = OsStr::new("dir");
    group.bench_function("rmdir: RMDIR, GETATTR, FORGET", |b| {
        let make = || overlay.mkdir(&CALLER, room, name, 0o755).unwrap().id;
        let remove = |dir| {
            overlay.rmdir(room, name).unwrap();
            overlay.getattr(room).unwrap();
            overlay.forget(dir, 1);
        };
        b.iter_batched(make, remove, each);
    });
    group.finish();
}

/// How much of the changes above the upper file system takes: the system calls that no program can leave out
/// that makes these changes there and then reads what stat(2) shows.
fn upper(criterion: &mut Criterion) {
    let scratch = scratch();
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(scratch.path(), directory, Mode::empty()).unwrap();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = |name| rustix::fs::openat(&dir, name, flags, Mode::from(0o644)).unwrap();
    let wanted = StatxFlags::BASIC_STATS;
    let stat = |fd: BorrowedFd<'_>| {
        rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted).unwrap();
    };
    let unlink = |name| rustix::fs::unlinkat(&dir, name, AtFlags::empty()).unwrap();
    let each = BatchSize::PerIteration;
    let mut group = criterion.benchmark_group("upper");
    group.bench_function("create: openat, statx twice", |b| {
        let clear = || {
            rustix::fs::unlinkat(&dir, c"file", AtFlags::empty()).ok();
        };
        let create = |()| {
            let file = create(c"file");
            stat(file.as_fd());
            stat(dir.as_fd());
            file
        };
        b.iter_batched(clear, create, each);
    });
    group.bench_function("unlink: unlinkat, statx twice, close", |b| {
        let remove = |file: OwnedFd| {
            unlink(c"other");
            stat(file.as_fd());
            stat(dir.as_fd());
        };
        b.iter_batched(|| create(c"other"), remove, each);
    });
    let file = create(c"moved");
    let (mut from, mut to) = (c"moved", c"again");
    group.bench_function("rename: renameat2, statx twice", |b| {
        b.iter(|| {
            rustix::fs::renameat_with(&dir, from, &dir, to, RenameFlags::empty()).unwrap();
            stat(file.as_fd());
            stat(dir.as_fd());
            std::mem::swap(&mut from, &mut to);
        });
    });
    group.bench_function("rmdir: unlinkat, statx", |b| {
        let make = || rustix::fs::mkdirat(&dir, c"dir", Mode::from(0o755)).unwrap();
        let remove = |()| {
            rustix::fs::unlinkat(&dir, c"dir", AtFlags::REMOVEDIR).unwrap();
            stat(dir.as_fd());
        };
        b.iter_batched(make, remove, each);
    });
    group.finish();
}

/// An image of one layer, imported whole: the archive is read, verified and written out.
fn import(criterion: &mut Criterion) {
    use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
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

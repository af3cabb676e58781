//! Layers as they come out: types, owners, modes, times, attributes, whiteouts, in both ways to keep
//! owners.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::support::{
    self, World, has_xattrs, import, is_opaque, is_root, is_whiteout, ownerships, record, request,
    xattr,
};
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, LayerFacts, Ownership, Silent, Timestamp};

/// Imports an image of these layers and returns their directories, bottom first.
fn import_layers(world: &World, layers: &[Layer], ownership: Ownership) -> Vec<std::path::PathBuf> {
    let mut image = ImageBuilder::new();
    for layer in layers {
        image = image.layer(layer.clone(), Compression::Zstd);
    }
    image.write_oci(world.path("src"), Some("test:1")).unwrap();
    let source = format!("oci:{}", world.path("src").display());
    world
        .store()
        .import(&request(&source, ownership), &Silent)
        .unwrap();
    world.assert_untouched("an import");
    world.layers("test:1")
}

fn facts(world: &World) -> LayerFacts {
    world
        .store()
        .image("test:1")
        .unwrap()
        .layers
        .pop()
        .unwrap()
        .record
        .facts
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn time(seconds: i64, nanoseconds: u32) -> Timestamp {
    Timestamp {
        seconds,
        nanoseconds,
    }
}

#[test]
fn files_directories_and_links_come_out_as_they_went_in() {
    for ownership in ownerships() {
        let world = World::new();
        let layer = Layer::new([
            Entry::dir(".").mode(0o755).mtime(time(1, 0)),
            Entry::dir("d").mtime(time(1_600_000_000, 123_456_789)),
            Entry::file("d/f", b"content")
                .mode(0o640)
                .mtime(time(1_500_000_000, 999_999_999)),
            Entry::file("d/empty", b"")
                .mode(0o755)
                .mtime(time(-5, 250_000_000)),
            Entry::file("large", vec![7; 3_000_000]),
            Entry::symlink("d/l", "../large").mtime(time(1_400_000_000, 1)),
            Entry::hard_link("h", "d/f"),
            Entry::fifo("p").mode(0o644).mtime(time(7, 7)),
        ]);
        let dir = import_layers(&world, &[layer], ownership).pop().unwrap();
        for (name, kind, at) in [
            ("", "dir", (1, 0)),
            ("d", "dir", (1_600_000_000, 123_456_789)),
            ("d/f", "file", (1_500_000_000, 999_999_999)),
            ("h", "file", (1_500_000_000, 999_999_999)),
            ("d/empty", "file", (-5, 250_000_000)),
            ("d/l", "link", (1_400_000_000, 1)),
            ("p", "fifo", (7, 7)),
        ] {
            let stat = fs::symlink_metadata(dir.join(name)).unwrap();
            let found = match stat.file_type() {
                kind if kind.is_dir() => "dir",
                kind if kind.is_file() => "file",
                kind if kind.is_symlink() => "link",
                kind if kind.is_fifo() => "fifo",
                _ => "other",
            };
            assert_eq!(found, kind, "{name}");
            assert_eq!((stat.mtime(), stat.mtime_nsec()), at, "{name}");
            // There is no way to read the target of a link for the digest without setting its access time.
            if kind != "link" {
                assert_eq!((stat.atime(), stat.atime_nsec()), at, "{name}");
            }
        }
        assert_eq!(fs::read(dir.join("d/f")).unwrap(), b"content");
        assert_eq!(fs::read(dir.join("large")).unwrap(), vec![7; 3_000_000]);
        assert_eq!(
            fs::read_link(dir.join("d/l")).unwrap(),
            Path::new("../large")
        );
        assert_eq!(fs::metadata(dir.join("h")).unwrap().nlink(), 2);
        assert_eq!(
            (mode(&dir.join("d/f")), mode(&dir.join("p"))),
            (0o640, 0o644)
        );
        let facts = facts(&world);
        assert_eq!(
            (facts.entries, facts.data, facts.root_entry),
            (8, 3_000_007, true)
        );
        assert_eq!((facts.overrides, facts.whiteouts, facts.opaque), (0, 0, 0));
    }
}

#[test]
fn override_records_say_what_the_disk_cannot() {
    let world = World::new();
    if !has_xattrs(&world.path("."), this_test!()) {
        return;
    }
    let layer = Layer::new([
        Entry::dir("plain"),
        Entry::file("plain/f", b"x"),
        Entry::dir("home").owner(1000, 100).mode(0o700),
        Entry::dir("tmp").mode(0o1777),
        Entry::dir("closed").mode(0o050),
        Entry::file("closed/inside", b"x"),
        Entry::file("su", b"x").mode(0o4755),
        Entry::file("secret", b"x").owner(0, 42).mode(0o040),
        Entry::file("read-only", b"x").mode(0o444),
        Entry::symlink("rootlink", "target"),
        Entry::symlink("userlink", "some/target").owner(1000, 1000),
        Entry::char_device("null", 1, 3).mode(0o666),
        Entry::block_device("disk", 8, 1).mode(0o660).owner(0, 6),
        Entry::fifo("fifo"),
        Entry::fifo("userfifo").owner(7, 7).mode(0o622),
        Entry::file("capable", b"x").xattr("security.capability", b"\x01\0\0\x02caps"),
        Entry::file("noted", b"x")
            .mode(0o400)
            .xattr("user.note", b"n")
            .xattr("trusted.x", b"t"),
    ]);
    let dir = import_layers(&world, &[layer], Ownership::Override)
        .pop()
        .unwrap();
    for (name, disk_mode, expected) in [
        (".", 0o755, None),
        ("plain", 0o755, None),
        ("plain/f", 0o644, None),
        ("home", 0o700, Some("1000:100:700")),
        ("tmp", 0o777, Some("0:0:1777")),
        ("closed", 0o750, Some("0:0:50")),
        ("closed/inside", 0o644, None),
        ("su", 0o755, Some("0:0:4755")),
        ("secret", 0o640, Some("0:42:40")),
        ("read-only", 0o644, Some("0:0:444")),
        ("userlink", 0o777, Some("1000:1000:777:symlink")),
        ("null", 0o666, Some("0:0:666:char-1-3")),
        ("disk", 0o660, Some("0:6:660:block-8-1")),
        ("fifo", 0o600, None),
        ("userfifo", 0o622, Some("7:7:622:pipe")),
        ("capable", 0o644, None),
        ("noted", 0o600, Some("0:0:400")),
    ] {
        let path = dir.join(name);
        assert_eq!(record(&path).as_deref(), expected, "{name}");
        assert_eq!(mode(&path), disk_mode, "{name}");
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), me, "{name}");
    }
    assert!(dir.join("rootlink").is_symlink());
    assert_eq!(fs::read(dir.join("userlink")).unwrap(), b"some/target");
    for stand_in in ["null", "disk", "userfifo"] {
        let stat = fs::symlink_metadata(dir.join(stand_in)).unwrap();
        assert!(stat.is_file() && stat.len() == 0, "{stand_in}");
    }
    let kept = xattr(
        &dir.join("capable"),
        "user.containers.override_security.capability",
    );
    assert_eq!(kept.unwrap(), b"\x01\0\0\x02caps");
    assert_eq!(xattr(&dir.join("noted"), "user.note").unwrap(), b"n");
    let facts = facts(&world);
    assert_eq!(
        (facts.overrides, facts.xattrs, facts.xattrs_dropped),
        (11, 2, 1)
    );
}

#[test]
fn real_owners_are_real() {
    if !is_root() {
        support::skip(this_test!(), "not run as root");
        return;
    }
    let world = World::new();
    let layer = Layer::new([
        Entry::dir(".").owner(1, 2).mode(0o711),
        Entry::dir("d").owner(1000, 1001).mode(0o2775),
        Entry::file("d/f", b"x").owner(1000, 1001).mode(0o600),
        Entry::dir("d/inner"),
        Entry::file("su", b"x").owner(5, 6).mode(0o6755),
        Entry::symlink("l", "d").owner(7, 8),
        Entry::fifo("p").owner(9, 10).mode(0o622),
        Entry::file("capable", b"x").owner(11, 12).xattr(
            "security.capability",
            b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        Entry::dir("closed").owner(13, 13).mode(0),
        Entry::file("closed/inside", b"x").owner(13, 13).mode(0),
    ]);
    let dir = import_layers(&world, &[layer], Ownership::Real)
        .pop()
        .unwrap();
    for (name, owner, expected) in [
        (".", (1, 2), 0o711),
        ("d", (1000, 1001), 0o2775),
        ("d/f", (1000, 1001), 0o600),
        ("d/inner", (0, 0), 0o755),
        ("su", (5, 6), 0o6755),
        ("l", (7, 8), 0o777),
        ("p", (9, 10), 0o622),
        ("capable", (11, 12), 0o644),
        ("closed", (13, 13), 0),
        ("closed/inside", (13, 13), 0),
    ] {
        let stat = fs::symlink_metadata(dir.join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), owner, "{name}");
        assert_eq!(stat.mode() & 0o7777, expected, "{name}");
        assert_eq!(record(&dir.join(name)), None, "{name}");
    }
    let capability = xattr(&dir.join("capable"), "security.capability");
    assert_eq!(capability.unwrap()[..4], [1, 0, 0, 2]);
}

#[test]
fn devices_are_made_or_recorded() {
    if !is_root() {
        support::skip(this_test!(), "not run as root");
        return;
    }
    let world = World::new();
    let layer = Layer::new([
        Entry::char_device("null", 1, 3).mode(0o666).owner(1, 1),
        Entry::block_device("disk", 8, 1).mode(0o660),
    ]);
    let dir = import_layers(&world, &[layer], Ownership::Real)
        .pop()
        .unwrap();
    let null = fs::symlink_metadata(dir.join("null")).unwrap();
    if null.is_file() {
        // In a user namespace, or without CAP_MKNOD.
        assert_eq!(
            record(&dir.join("null")).as_deref(),
            Some("1:1:666:char-1-3")
        );
        assert_eq!(facts(&world).overrides, 2);
        return;
    }
    assert!(null.file_type().is_char_device());
    assert_eq!(
        (null.rdev(), null.uid(), null.mode() & 0o7777),
        (0x103, 1, 0o666)
    );
    let disk = fs::symlink_metadata(dir.join("disk")).unwrap();
    assert!(disk.file_type().is_block_device());
    assert_eq!((disk.rdev(), facts(&world).overrides), (0x801, 0));
}

#[test]
fn access_control_lists_are_kept_and_not_passed_on() {
    let world = World::new();
    if !has_xattrs(&world.path("."), this_test!()) {
        return;
    }
    // Version 2, then tag, permissions and id of each entry: user::rwx, group::r-x, group:5:rwx,
    // mask::rwx, other::r-x.
    let entry = |tag: u16, permissions: u16, id: u32| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&tag.to_le_bytes());
        bytes[2..4].copy_from_slice(&permissions.to_le_bytes());
        bytes[4..].copy_from_slice(&id.to_le_bytes());
        bytes
    };
    let none = u32::MAX;
    let acl = [
        &2_u32.to_le_bytes()[..],
        &entry(1, 7, none),
        &entry(4, 5, none),
        &entry(8, 7, 5),
        &entry(16, 7, none),
        &entry(32, 5, none),
    ]
    .concat();
    for ownership in ownerships() {
        let world = World::new();
        let layer = Layer::new([
            Entry::dir("d")
                .mode(0o775)
                .xattr("system.posix_acl_default", &acl),
            Entry::file("d/plain", b"x"),
            Entry::dir("d/inner"),
            Entry::file("f", b"x")
                .mode(0o775)
                .xattr("system.posix_acl_access", &acl),
        ]);
        let dir = import_layers(&world, &[layer], ownership).pop().unwrap();
        if xattr(&dir.join("f"), "system.posix_acl_access").is_none() {
            assert!(facts(&world).xattrs_dropped > 0);
            support::skip(this_test!(), "the file system has no access control lists");
            return;
        }
        assert_eq!(
            xattr(&dir.join("f"), "system.posix_acl_access").unwrap(),
            acl
        );
        assert_eq!(
            xattr(&dir.join("d"), "system.posix_acl_default").unwrap(),
            acl
        );
        assert_eq!((mode(&dir.join("f")), mode(&dir.join("d"))), (0o775, 0o775));
        for inside in ["d/plain", "d/inner"] {
            for list in ["system.posix_acl_access", "system.posix_acl_default"] {
                assert_eq!(xattr(&dir.join(inside), list), None, "{inside} {list}");
            }
        }
        assert_eq!(mode(&dir.join("d/plain")), 0o644);
    }
}

#[test]
fn nothing_is_inherited_from_the_place_of_the_store() {
    let world = World::new();
    // A directory with the set-group-id bit and a mask that closes everything.
    let parent = world.path("parent");
    fs::create_dir(&parent).unwrap();
    rustix::fs::chmod(&parent, rustix::fs::Mode::from_raw_mode(0o2777)).unwrap();
    let store = plyfs_store::Store::open(parent.join("store")).unwrap();
    let layer = Layer::new([Entry::dir("d"), Entry::file("d/f", b"x").mode(0o666)]);
    let image = ImageBuilder::new().layer(layer, Compression::None);
    image.write_oci(world.path("src"), Some("a:1")).unwrap();
    import(&store, &format!("oci:{}", world.path("src").display())).unwrap();
    let dir = store.image("a:1").unwrap().layers.pop().unwrap().path;
    assert_eq!(
        (mode(&dir.join("d")), mode(&dir.join("d/f"))),
        (0o755, 0o666)
    );
}

#[test]
fn whiteouts_become_what_overlays_read() {
    let world = World::new();
    if !has_xattrs(&world.path("."), this_test!()) {
        return;
    }
    for ownership in ownerships() {
        let world = World::new();
        let base = Layer::new([
            Entry::file("a/gone", b"x"),
            Entry::file("a/kept", b"x"),
            Entry::file("b/hidden", b"x"),
        ]);
        let change = Layer::new([
            Entry::dir("a"),
            Entry::whiteout("a/gone"),
            Entry::dir("b"),
            Entry::opaque("b"),
            Entry::file("b/new", b"x"),
        ]);
        let dirs = import_layers(&world, &[base, change], ownership);
        assert!(is_whiteout(&dirs[1].join("a/gone")));
        assert!(is_opaque(&dirs[1].join("b")) && !is_opaque(&dirs[1].join("a")));
        assert!(!dirs[1].join("b/.wh..wh..opq").exists());
        let facts = facts(&world);
        assert_eq!(
            (facts.whiteouts, facts.opaque, facts.opaque_root),
            (1, 1, false)
        );
        assert!(!facts.root_entry);
    }
}

/// umoci writes whiteouts for what was in a directory that is a file now. The file hides all of it,
/// so there is nothing to do.
#[test]
fn whiteouts_below_a_file_are_passed_over() {
    let world = World::new();
    if !has_xattrs(&world.path("."), this_test!()) {
        return;
    }
    for ownership in ownerships() {
        for whiteouts_first in [false, true] {
            let world = World::new();
            let base = Layer::new([Entry::file("info/gone", b"x")]);
            let mut entries = vec![
                Entry::file("info", b"a file now"),
                Entry::whiteout("info/gone"),
            ];
            if whiteouts_first {
                entries.reverse();
            }
            let dirs = import_layers(&world, &[base, Layer::new(entries)], ownership);
            let content = std::fs::read_to_string(dirs[1].join("info")).unwrap();
            assert_eq!(content, "a file now");
        }
    }
}

#[test]
fn owners_that_do_not_exist_here_are_named() {
    // An ordinary user cannot give files away; the error names them.
    if is_root() {
        support::skip(this_test!(), "run as root");
        return;
    }
    let world = World::new();
    let archive = support::tarball::Tar::new().file("f", b"x").end();
    let error = world.import_archive(&archive, Ownership::Real).unwrap_err();
    assert_eq!(error.errno(), Some(rustix::io::Errno::PERM));
    let message = support::message(&error);
    assert!(
        message.contains("entry \"f\": cannot change its owner"),
        "{message}"
    );
    world.assert_untouched("real owners");
}

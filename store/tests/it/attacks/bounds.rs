//! Bombs, crowds, and records that an archive may not bring along.

use std::os::unix::fs::MetadataExt;

use plyfs_store::{Limits, Ownership};

use super::Outcome::{Harmless, Refused};
use super::{content, run};
use crate::support::tarball::{Header, Tar, pax_record};
use crate::support::{self, World, has_xattrs, message, ownerships};

#[test]
fn metadata_is_bounded() {
    run(&[
        (
            "a long name of 2 GiB",
            |_| {
                Tar::new()
                    .header(Header::new("l", b'L').size(2 << 30))
                    .end()
            },
            Refused("its metadata is larger than 1048576 bytes"),
        ),
        (
            "an extended header of 2 MiB",
            |_| {
                let value = vec![b'v'; 2 << 20];
                Tar::new().pax(&[(b"comment", &value)]).file("f", b"").end()
            },
            Refused("its metadata is larger than 1048576 bytes"),
        ),
        (
            "an attribute of 65 KiB",
            |_| {
                let value = vec![b'v'; 65 << 10];
                Tar::new()
                    .pax(&[(b"SCHILY.xattr.user.x", &value)])
                    .file("f", b"")
                    .end()
            },
            Refused("the extended attribute \"user.x\" is too long"),
        ),
        (
            "an attribute name of 300 bytes",
            |_| {
                let name = [&b"SCHILY.xattr.user."[..], &[b'n'; 300]].concat();
                Tar::new().pax(&[(&name, b"v")]).file("f", b"").end()
            },
            Refused("is too long"),
        ),
        (
            "global headers without end",
            |_| {
                let global = pax_record(b"comment", &[b'v'; 1000]);
                let tar = (0..2000).fold(Tar::new(), |tar, _| {
                    tar.entry(&Header::new("g", b'g'), &global)
                });
                tar.file("f", b"x").end()
            },
            Harmless(|layer| assert_eq!(content(layer.join("f")), "x")),
        ),
        (
            "a global header that names every entry",
            |_| {
                let global = pax_record(b"path", b"../x");
                Tar::new()
                    .entry(&Header::new("g", b'g'), &global)
                    .file("f", b"")
                    .end()
            },
            Refused("a global extended header sets \"path\" for every entry"),
        ),
    ]);
}

#[test]
fn bombs_hit_their_limits() {
    let world = World::new();
    let limits = Limits {
        layer_bytes: 1 << 20,
        layer_entries: 100,
    };
    // 64 MiB of zeros are 64 KiB of gzip.
    let bomb = Tar::new().file("zeros", &vec![0; 64 << 20]).end();
    let crowd = (0..101).fold(Tar::new(), |tar, at| tar.file(format!("f{at}"), b""));
    let full = (0..100).fold(Tar::new(), |tar, at| tar.file(format!("f{at}"), b""));
    for (archive, said) in [
        (bomb, Some("it unpacks to more than 1048576 bytes")),
        (crowd.end(), Some("it has more than 100 entries")),
        (full.end(), None),
    ] {
        let imported = world.import_archives(&[archive], Ownership::Override, limits);
        match said {
            Some(said) => {
                let message = message(&imported.unwrap_err());
                assert!(message.contains(said), "{message}");
            }
            None => drop(imported.unwrap()),
        }
        world.assert_untouched("a bomb");
    }
}

#[test]
fn hostile_attributes_are_dropped() {
    if !has_xattrs(&std::env::temp_dir(), this_test!()) {
        return;
    }
    let names = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
        "user.overlay.metacopy",
        "user.fuseoverlayfs.opaque",
        "user.fuseoverlayfs.override_stat",
        "user.containers.override_stat",
    ];
    for ownership in ownerships() {
        let world = World::new();
        let mut tar = Tar::new();
        for name in ["d", "f"] {
            let keys: Vec<_> = names
                .iter()
                .map(|name| format!("SCHILY.xattr.{name}"))
                .collect();
            let mut records: Vec<(&[u8], &[u8])> =
                keys.iter().map(|key| (key.as_bytes(), &b"y"[..])).collect();
            records.push((b"SCHILY.xattr.user.kept", b"kept"));
            tar = tar.pax(&records);
            tar = if name == "d" {
                tar.dir(name)
            } else {
                tar.file(name, b"")
            };
        }
        world.import_archive(&tar.end(), ownership).unwrap();
        for file in ["d", "f"] {
            let path = world.layer().join(file);
            for name in names {
                assert_eq!(
                    support::xattr(&path, name),
                    None,
                    "{name} on {file}, {ownership:?}"
                );
            }
            assert_eq!(support::xattr(&path, "user.kept").unwrap(), b"kept");
        }
        let image = world.store().image("test:1").unwrap();
        let facts = &image.layers[0].record.facts;
        assert_eq!(
            (facts.xattrs, facts.xattrs_dropped, facts.opaque),
            (2, 14, 0)
        );
    }
}

#[test]
fn the_store_is_closed_to_others() {
    let world = World::new();
    world
        .import_archive(&Tar::new().file("f", b"").end(), Ownership::Override)
        .unwrap();
    let mode = world.path("store").metadata().unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn damage_of_any_kind_stays_inside() {
    // Good archives with links in them, damaged at random: whatever comes of it, nothing outside
    // changes, and the store works.
    let world = World::new();
    let tar = Tar::new().dir("a").symlink("a/l", world.canary(""));
    let tar = tar
        .file("a/f", b"content")
        .hard_link("h", "a/f")
        .symlink("b", "a/l");
    let good = tar
        .file("a/.wh.x", b"")
        .dir("c")
        .file("c/.wh..wh..opq", b"")
        .end();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % bound
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..150 {
        let mut archive = good.clone();
        for _ in 0..1 + random(4) {
            // In names, types and targets, which is where it hurts.
            let block = 512 * random(archive.len() / 512);
            let at = block + [random(8), 156, 157 + random(8)][random(3)];
            archive[at] = b"/.abflhw12567\0"[random(14)];
        }
        for block in archive.chunks_exact_mut(512) {
            if block[257..].starts_with(b"ustar") {
                block[148..156].copy_from_slice(b"        ");
                let sum: u32 = block.iter().copied().map(u32::from).sum();
                block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        match world.import_archive(&archive, Ownership::Override) {
            Ok(_) => accepted += 1,
            Err(error) => {
                message(&error);
                refused += 1;
            }
        }
        world.assert_untouched("a damaged archive");
    }
    assert!(accepted > 10 && refused > 10, "{accepted} and {refused}");
}

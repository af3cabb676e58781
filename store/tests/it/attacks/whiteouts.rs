//! Whiteouts in odd places, and those that meet entries of their own layer.

use std::fs;
use std::path::Path;

use super::Outcome::{Harmless, Refused};
use super::{content, names_in, run};
use crate::support::tarball::Tar;
use crate::support::{World, has_xattrs, is_opaque, is_whiteout, ownerships};

#[test]
fn whiteouts_name_a_file() {
    run(&[
        (
            "a bare whiteout",
            |_| Tar::new().file(".wh.", b"").end(),
            Refused("a malformed whiteout"),
        ),
        (
            "a whiteout of itself",
            |_| Tar::new().file("a/.wh..", b"").end(),
            Refused("malformed"),
        ),
        (
            "a whiteout of the parent",
            |_| Tar::new().file("a/.wh...", b"").end(),
            Refused("malformed"),
        ),
        (
            "a whiteout as a directory on the way",
            |_| Tar::new().file("a/.wh.b/c", b"").end(),
            Refused("malformed"),
        ),
        (
            "a whiteout that is a directory, a link, or has data",
            |world| {
                let tar = Tar::new()
                    .dir(".wh.a")
                    .symlink(".wh.b", world.canary("file"));
                tar.file(".wh.c", &[b'x'; 2000]).file("after", b"x").end()
            },
            Harmless(|layer| {
                assert!(
                    ["a", "b", "c"]
                        .iter()
                        .all(|name| is_whiteout(&layer.join(name)))
                );
                assert_eq!(fs::read_dir(layer).unwrap().count(), 4);
            }),
        ),
        (
            "a whiteout of a name of 251 bytes, the longest there is",
            |_| {
                let name = format!(".wh.{}", "n".repeat(251));
                Tar::new()
                    .pax(&[(b"path", name.as_bytes())])
                    .file("x", b"")
                    .end()
            },
            Harmless(|layer| assert!(is_whiteout(&layer.join("n".repeat(251))))),
        ),
        (
            "housekeeping of AUFS",
            |_| {
                let tar = Tar::new().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"");
                tar.file(".wh..wh.aufs", b"")
                    .file("a/.wh..wh.orph", b"")
                    .end()
            },
            Harmless(|layer| assert_eq!(fs::read_dir(layer).unwrap().count(), 0)),
        ),
        (
            "a device 0/0",
            |_| Tar::new().device("a/w", b'3', 0, 0).end(),
            Harmless(|layer| assert!(is_whiteout(&layer.join("a/w")))),
        ),
    ]);
}

#[test]
fn whiteouts_spare_their_own_layer() {
    if !has_xattrs(&std::env::temp_dir(), this_test!()) {
        return;
    }
    run(&[
        (
            "a whiteout before and after a file",
            |_| {
                let tar = Tar::new().file(".wh.before", b"").file("before", b"kept");
                tar.file("after", b"kept").file(".wh.after", b"").end()
            },
            Harmless(|layer| {
                assert_eq!(content(layer.join("before")), "kept");
                assert_eq!(content(layer.join("after")), "kept");
                assert_eq!(fs::read_dir(layer).unwrap().count(), 2);
            }),
        ),
        (
            "a whiteout before and after a directory",
            |_| {
                let tar = Tar::new()
                    .file(".wh.before", b"")
                    .dir("before")
                    .file("before/f", b"kept");
                tar.dir("after")
                    .file("after/f", b"kept")
                    .file(".wh.after", b"")
                    .end()
            },
            Harmless(|layer| {
                for name in ["before", "after"] {
                    assert_eq!(content(layer.join(name).join("f")), "kept");
                    assert!(is_opaque(&layer.join(name)), "{name}");
                }
            }),
        ),
        (
            "a whiteout of a directory that has no entry",
            |_| Tar::new().file(".wh.d", b"").file("d/e/f", b"kept").end(),
            Harmless(|layer| {
                assert!(is_opaque(&layer.join("d")) && !is_opaque(&layer.join("d/e")));
                assert_eq!(content(layer.join("d/e/f")), "kept");
            }),
        ),
        (
            "an opaque mark after what it must not remove, and one without a directory",
            |_| {
                let tar = Tar::new()
                    .dir("d")
                    .file("d/f", b"kept")
                    .file("d/.wh..wh..opq", b"");
                tar.file("implied/.wh..wh..opq", b"").end()
            },
            Harmless(|layer| {
                assert_eq!(content(layer.join("d/f")), "kept");
                assert!(is_opaque(&layer.join("d")) && is_opaque(&layer.join("implied")));
                assert!(!is_opaque(layer));
            }),
        ),
        (
            "an opaque root",
            |_| {
                Tar::new()
                    .file(".wh..wh..opq", b"")
                    .file("f", b"kept")
                    .end()
            },
            Harmless(|layer| {
                assert!(is_opaque(layer));
                assert_eq!(content(layer.join("f")), "kept");
            }),
        ),
        (
            "an opaque mark on a file",
            |_| Tar::new().file("f", b"").file("f/.wh..wh..opq", b"").end(),
            Refused("its parent \"f\" is not a directory"),
        ),
        (
            "whiteouts in an opaque directory, before and after it became so",
            |_| {
                let tar = Tar::new()
                    .file("d/.wh.a", b"")
                    .file("d/e/.wh.b", b"")
                    .file("d/kept", b"");
                tar.file("d/.wh..wh..opq", b"")
                    .file("d/.wh.c", b"")
                    .file("x/.wh.y", b"")
                    .end()
            },
            Harmless(|layer| {
                let left = |dir: &str| names_in(&layer.join(dir));
                assert_eq!(left("d"), ["e", "kept"]);
                assert!(left("d/e").is_empty());
                assert_eq!(left("x"), ["y"]);
            }),
        ),
        (
            "a directory that replaces a file of its own layer hides what is below",
            |_| Tar::new().file("d", b"").dir("d").end(),
            Harmless(|layer| assert!(is_opaque(&layer.join("d")))),
        ),
    ]);
}

/// Every order of these entries must give the same tree.
fn in_any_order(entries: &[fn(Tar) -> Tar], check: fn(&Path)) {
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for at in 0..entries.len() {
        let insert = |order: Vec<usize>| {
            (0..=at).map(move |place| {
                let mut order = order.clone();
                order.insert(place, at);
                order
            })
        };
        orders = orders.into_iter().flat_map(insert).collect();
    }
    for ownership in ownerships() {
        for order in &orders {
            let world = World::new();
            let add = |tar, at: &usize| entries[*at](tar);
            let archive = order.iter().fold(Tar::new(), add).end();
            world.import_archive(&archive, ownership).unwrap();
            check(&world.layer());
        }
    }
}

#[test]
fn a_whiteout_with_whiteouts_below_it_leaves_nothing() {
    in_any_order(
        &[
            |tar| tar.file(".wh.a", b""),
            |tar| tar.file("a/.wh.f", b""),
            |tar| tar.file("a/b/.wh.g", b""),
            |tar| tar.file("a/b/.wh..wh..opq", b""),
        ],
        |layer| {
            assert!(is_whiteout(&layer.join("a")));
            assert_eq!(names_in(layer), ["a"]);
        },
    );
}

#[test]
fn a_whiteout_with_whiteouts_and_a_file_below_it_leaves_the_file() {
    if !has_xattrs(&std::env::temp_dir(), this_test!()) {
        return;
    }
    in_any_order(
        &[
            |tar| tar.file(".wh.a", b""),
            |tar| tar.file("a/.wh.f", b""),
            |tar| tar.file("a/b/new", b"kept"),
            |tar| tar.file("a/b/.wh.g", b""),
        ],
        |layer| {
            assert!(is_opaque(&layer.join("a")));
            assert_eq!(names_in(&layer.join("a")), ["b"]);
            assert_eq!(names_in(&layer.join("a/b")), ["new"]);
        },
    );
}

#[test]
fn an_entry_of_a_directory_survives_a_whiteout_of_it() {
    if !has_xattrs(&std::env::temp_dir(), this_test!()) {
        return;
    }
    in_any_order(
        &[
            |tar| tar.file(".wh.a", b""),
            |tar| tar.dir("a"),
            |tar| tar.file("a/.wh.f", b""),
        ],
        |layer| {
            assert!(is_opaque(&layer.join("a")));
            assert!(names_in(&layer.join("a")).is_empty());
        },
    );
}

#[test]
fn whiteouts_below_what_replaced_a_directory_are_ignored() {
    let target: fn(Tar) -> Tar = |tar| tar.dir("target");
    in_any_order(
        &[
            target,
            |tar| tar.symlink("a", "/target"),
            |tar| tar.file("a/.wh.f", b""),
        ],
        |layer| {
            assert!(layer.join("a").is_symlink());
            assert_eq!(names_in(layer), ["a", "target"]);
            assert!(names_in(&layer.join("target")).is_empty());
        },
    );
    in_any_order(
        &[
            |tar| tar.file("a", b"file"),
            |tar| tar.file("a/.wh.f", b""),
            |tar| tar.file(".wh.a", b""),
        ],
        |layer| assert_eq!(content(layer.join("a")), "file"),
    );
}

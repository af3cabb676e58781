//! Names: of the root, out of the layer, too long, and more than once.

use std::os::unix::fs::MetadataExt;

use plyfs_store::Ownership;
use rustix::fs::{Mode, OFlags};

use super::Outcome::{Harmless, Refused};
use super::{content, names_in, run};
use crate::support::tarball::{Header, Tar};
use crate::support::{self, World};

#[test]
fn the_root_is_a_directory() {
    run(&[
        (
            "a root that is a link",
            |world| {
                Tar::new()
                    .symlink(".", world.canary(""))
                    .file("file", b"dead")
                    .end()
            },
            Refused("the root of the layer must be a directory"),
        ),
        (
            "a root with a slash that is a link",
            |world| Tar::new().symlink("/.", world.canary("")).end(),
            Refused("the root of the layer must be a directory"),
        ),
        (
            "a root that is a file",
            |_| Tar::new().file(".", b"dead").end(),
            Refused("the root of the layer must be a directory"),
        ),
        (
            "a root that is a hard link",
            |_| Tar::new().file("f", b"").hard_link("/", "f").end(),
            Refused("the root of the layer must be a directory"),
        ),
        (
            "a root that is a device 0/0",
            |_| Tar::new().device("./", b'3', 0, 0).end(),
            Refused("the root of the layer must be a directory"),
        ),
        (
            "a root with a mode and a time",
            |_| {
                Tar::new()
                    .header(Header::new("./", b'5').mode(0o711).mtime(99))
                    .file("f", b"")
                    .end()
            },
            Harmless(|layer| {
                let stat = layer.metadata().unwrap();
                assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o711, 99));
            }),
        ),
        (
            "no root at all",
            |_| Tar::new().file("f", b"").end(),
            Harmless(|layer| assert_eq!(layer.metadata().unwrap().mode() & 0o7777, 0o755)),
        ),
    ]);
}

#[test]
fn names_stay_in_the_layer() {
    run(&[
        (
            "a name that is the parent",
            |_| Tar::new().dir("..").end(),
            Refused("the name leads out of the layer with \"..\""),
        ),
        (
            "a name in the parent",
            |_| Tar::new().file("../../../canary/file", b"dead").end(),
            Refused("entry \"../../../canary/file\": the name leads out of the layer"),
        ),
        (
            "a parent in the middle",
            |_| Tar::new().dir("a").file("a/../../x", b"").end(),
            Refused("the name leads out of the layer"),
        ),
        (
            "a parent that stays inside",
            |_| {
                let tar = Tar::new().dir("a").file("a/../x", b"inside");
                tar.hard_link("a/y", "a/../x").end()
            },
            Harmless(|layer| {
                assert_eq!(names_in(layer), ["a", "x"]);
                assert_eq!(content(layer.join("a/y")), "inside");
            }),
        ),
        (
            "a whiteout in the parent",
            |_| Tar::new().file("../.wh.canary", b"").end(),
            Refused("the name leads out of the layer"),
        ),
        (
            "an absolute name",
            |world| {
                let name = world.canary("file");
                Tar::new()
                    .pax(&[(b"path", name.as_bytes())])
                    .file("x", b"inside")
                    .end()
            },
            Harmless(|layer| {
                let mut files = Vec::new();
                support::visit(layer, &mut |path, stat| {
                    files.extend(stat.is_file().then(|| content(path)));
                });
                assert_eq!(files, ["inside"]);
            }),
        ),
        (
            "an absolute name with a parent",
            |_| Tar::new().file("/../x", b"").end(),
            Refused("the name leads out of the layer"),
        ),
        (
            "a name with NUL",
            |_| Tar::new().pax(&[(b"path", b"a\0b")]).file("x", b"").end(),
            Refused("its name holds a NUL"),
        ),
        (
            "a link target with NUL",
            |_| {
                Tar::new()
                    .pax(&[(b"linkpath", b"a\0b")])
                    .symlink("x", "y")
                    .end()
            },
            Refused("its name holds a NUL"),
        ),
        (
            "a long name with NUL",
            |_| {
                Tar::new()
                    .entry(&Header::new("l", b'L'), b"a\0b\0")
                    .file("x", b"")
                    .end()
            },
            Refused("its name holds a NUL"),
        ),
        (
            "no name",
            |_| Tar::new().file("", b"").end(),
            Refused("the name is empty"),
        ),
        (
            "a component of 256 bytes",
            |_| {
                Tar::new()
                    .pax(&[(b"path", &[b'n'; 256])])
                    .file("x", b"")
                    .end()
            },
            Refused("the name is too long"),
        ),
        (
            "a component of 255 bytes",
            |_| {
                Tar::new()
                    .pax(&[(b"path", &[b'n'; 255])])
                    .file("x", b"x")
                    .end()
            },
            Harmless(|layer| assert_eq!(content(layer.join("n".repeat(255))), "x")),
        ),
        (
            "a path of 4096 bytes",
            |_| {
                let path = format!("{}/x", vec!["n".repeat(254); 17].join("/"));
                Tar::new()
                    .pax(&[(b"path", path.as_bytes())])
                    .file("x", b"")
                    .end()
            },
            Refused("the name is too long"),
        ),
        (
            "a link to 5000 bytes",
            |_| Tar::new().symlink("l", "t".repeat(5000)).end(),
            Refused("the name is too long"),
        ),
        (
            "a link to nothing",
            |_| Tar::new().symlink("l", "").end(),
            Refused("without a target"),
        ),
        (
            "directories nested too deep",
            |_| {
                let path = vec!["d"; 2049].join("/");
                Tar::new().pax(&[(b"path", path.as_bytes())]).dir("x").end()
            },
            Refused("the name is too long"),
        ),
        (
            "control characters",
            |_| {
                Tar::new()
                    .file("a\x1b[2J\r\n\u{202e}\u{9b}31m/../../b", b"")
                    .end()
            },
            Refused("entry \"a\\u{1b}[2J\\r\\n\\u{202e}\\u{9b}31m/../../b\""),
        ),
        (
            "names that are no text",
            |_| {
                Tar::new()
                    .dir(b"\xff\xfe")
                    .file(b"\xff\xfe/\x80", b"x")
                    .end()
            },
            Harmless(|layer| {
                use std::os::unix::ffi::OsStrExt;
                let name = std::ffi::OsStr::from_bytes(b"\xff\xfe/\x80");
                assert_eq!(content(layer.join(name)), "x");
            }),
        ),
    ]);
}

#[test]
fn deep_nesting_is_legal_up_to_a_point() {
    let world = World::new();
    // As long as a path of Linux may be.
    let path = vec!["d"; 2048].join("/");
    let archive = Tar::new().pax(&[(b"path", path.as_bytes())]).dir("x").end();
    world.import_archive(&archive, Ownership::Override).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut dir = rustix::fs::open(world.layer(), flags, Mode::empty()).unwrap();
    for _ in 0..2048 {
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    // The library that removes the directory of this test holds a descriptor for each level.
    let removed = std::process::Command::new("rm")
        .arg("-rf")
        .arg(world.layer())
        .status();
    assert!(removed.unwrap().success());
}

#[test]
fn the_last_of_several_entries_counts() {
    run(&[
        (
            "a file twice",
            |_| Tar::new().file("f", b"first").file("./f", b"last").end(),
            Harmless(|layer| assert_eq!(content(layer.join("f")), "last")),
        ),
        (
            "a file twice, with another name for the first",
            |_| {
                Tar::new()
                    .file("f", b"first")
                    .hard_link("h", "f")
                    .file("f", b"last")
                    .end()
            },
            Harmless(|layer| {
                assert_eq!(content(layer.join("f")), "last");
                assert_eq!(content(layer.join("h")), "first");
            }),
        ),
        (
            "a directory twice",
            |_| {
                let tar = Tar::new()
                    .header(Header::new("d", b'5').mode(0o700))
                    .file("d/f", b"kept");
                tar.header(Header::new("d", b'5').mode(0o711).mtime(3))
                    .end()
            },
            Harmless(|layer| {
                assert_eq!(content(layer.join("d/f")), "kept");
                let stat = layer.join("d").metadata().unwrap();
                assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o711, 3));
            }),
        ),
        (
            "a file over a full directory, and the directory again",
            |_| {
                let tar = Tar::new()
                    .file("d/e/f", b"")
                    .file("d/g", b"")
                    .file("d", b"file");
                tar.dir("d").file("d/new", b"x").end()
            },
            Harmless(|layer| assert_eq!(names_in(&layer.join("d")), ["new"])),
        ),
        (
            "a link over a full directory",
            |_| {
                Tar::new()
                    .file("d/e/f", b"")
                    .symlink("d", "elsewhere")
                    .end()
            },
            Harmless(|layer| assert!(layer.join("d").is_symlink())),
        ),
    ]);
}

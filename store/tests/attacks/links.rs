//! Links, and what is done to and through them.

use std::os::unix::fs::MetadataExt;

use crate::Outcome::{Harmless, Refused};
use crate::common::tarball::{Header, Tar};
use crate::{content, run};

#[test]
fn nothing_goes_through_a_symbolic_link() {
    run(&[
        (
            "a file below a link out of the layer",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .file("l/file", b"dead")
                    .end()
            },
            Refused("entry \"l/file\": its parent \"l\" is a symbolic link"),
        ),
        (
            "a file below a relative link out of the layer",
            |_| {
                Tar::new()
                    .symlink("l", "../../../../canary")
                    .file("l/x", b"dead")
                    .end()
            },
            Refused("its parent \"l\" is a symbolic link"),
        ),
        (
            "a file below a link that stays inside",
            |_| {
                Tar::new()
                    .dir("d")
                    .symlink("d/l", ".")
                    .file("d/l/x", b"")
                    .end()
            },
            Refused("its parent \"d/l\" is a symbolic link"),
        ),
        (
            "a file in a directory that is there behind a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary(""));
                tar.file("l/dir/new", b"dead").end()
            },
            Refused("entry \"l/dir/new\": its parent \"l\" is a symbolic link"),
        ),
        (
            "a hard link to a file in a directory that is there behind a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary(""));
                tar.hard_link("h", "l/dir/inner").end()
            },
            Refused("refused: its parent \"l\" is a symbolic link"),
        ),
        (
            "a directory below a link",
            |world| Tar::new().symlink("l", world.canary("")).dir("l/new").end(),
            Refused("is a symbolic link"),
        ),
        (
            "parents made through a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .file("l/a/b/c", b"")
                    .end()
            },
            Refused("is a symbolic link"),
        ),
        (
            "a link below a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .symlink("l/x", "y")
                    .end()
            },
            Refused("is a symbolic link"),
        ),
        (
            "a hard link below a link",
            |world| {
                let tar = Tar::new().file("f", b"").symlink("l", world.canary(""));
                tar.hard_link("l/x", "f").end()
            },
            Refused("is a symbolic link"),
        ),
        (
            "a whiteout below a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .file("l/.wh.file", b"")
                    .end()
            },
            Harmless(|layer| {
                // What it hides was in a directory that the link replaced.
                assert!(layer.join("l").is_symlink());
                assert_eq!(crate::names_in(layer), ["l"]);
            }),
        ),
        (
            "an opaque mark below a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary("dir"))
                    .file("l/.wh..wh..opq", b"")
                    .end()
            },
            Refused("is a symbolic link"),
        ),
        (
            "a fifo below a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary(""));
                tar.header(&Header::new("l/p", b'6')).end()
            },
            Refused("is a symbolic link"),
        ),
        (
            "a directory that is replaced by a link and then written to",
            |world| {
                let tar = Tar::new()
                    .dir("d")
                    .file("d/a", b"")
                    .symlink("d", world.canary(""));
                tar.file("d/file", b"dead").end()
            },
            Refused("entry \"d/file\": its parent \"d\" is a symbolic link"),
        ),
        (
            "a deep directory that is replaced by a link while it is held open",
            |world| {
                let tar = Tar::new()
                    .file("a/b/c/d/1", b"")
                    .symlink("a/b", world.canary(""));
                tar.file("a/b/c/d/2", b"dead").end()
            },
            Refused("its parent \"a/b\" is a symbolic link"),
        ),
        (
            "a file below a file",
            |_| Tar::new().file("f", b"").file("f/x", b"").end(),
            Refused("its parent \"f\" is not a directory"),
        ),
    ]);
}

#[test]
fn no_metadata_goes_through_a_symbolic_link() {
    run(&[
        (
            "a file in the place of a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary("file"));
                tar.entry(Header::new("l", b'0').mode(0o600).mtime(5), b"dead")
                    .end()
            },
            Harmless(|layer| {
                assert!(layer.join("l").symlink_metadata().unwrap().is_file());
                assert_eq!(content(layer.join("l")), "dead");
            }),
        ),
        (
            "a directory in the place of a link, which is legal",
            |world| {
                let tar = Tar::new().symlink("l", world.canary("dir"));
                tar.header(Header::new("l", b'5').mode(0o700).mtime(5))
                    .file("l/x", b"x")
                    .end()
            },
            Harmless(|layer| {
                let stat = layer.join("l").symlink_metadata().unwrap();
                assert!(stat.is_dir());
                assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o700, 5));
                assert_eq!(content(layer.join("l/x")), "x");
            }),
        ),
        (
            "a link with mode, owner, time and attributes",
            |world| {
                let tar = Tar::new().pax(&[
                    (b"SCHILY.xattr.user.x", b"dead"),
                    (b"SCHILY.xattr.security.capability", b"dead"),
                    (b"SCHILY.xattr.trusted.x", b"dead"),
                ]);
                let mut link = Header::new("l", b'2');
                link.mode(0o4777)
                    .owner(0, 0)
                    .mtime(7)
                    .link(world.canary("file"));
                tar.header(&link).end()
            },
            Harmless(|layer| {
                let stat = layer.join("l").symlink_metadata().unwrap();
                assert!(stat.is_symlink());
                assert_eq!(stat.mtime(), 7);
            }),
        ),
        (
            "a hard link to a link",
            |world| {
                let tar = Tar::new()
                    .symlink("l", world.canary("file"))
                    .hard_link("h", "l");
                tar.entry(Header::new("h", b'0').mode(0o777), b"dead").end()
            },
            Harmless(|layer| {
                assert!(layer.join("l").symlink_metadata().unwrap().is_symlink());
                assert_eq!(content(layer.join("h")), "dead");
            }),
        ),
        (
            "a hard link to a link is a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary("file"))
                    .hard_link("h", "l")
                    .end()
            },
            Harmless(|layer| {
                let stat = layer.join("h").symlink_metadata().unwrap();
                assert!(stat.is_symlink());
                assert_eq!(stat.nlink(), 2);
            }),
        ),
        (
            "a device in the place of a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary("file"));
                tar.device("l", b'3', 1, 3).end()
            },
            Harmless(|layer| assert!(!layer.join("l").symlink_metadata().unwrap().is_symlink())),
        ),
    ]);
}

#[test]
fn hard_links_lead_to_what_is_in_the_layer() {
    run(&[
        (
            "a target outside",
            |_| Tar::new().hard_link("h", "../../../../canary/file").end(),
            Refused("the target of the hard link is refused: the name leads out of the layer"),
        ),
        (
            "an absolute target outside",
            |world| Tar::new().hard_link("h", world.canary("file")).end(),
            Refused("is not in the layer before it"),
        ),
        (
            "an absolute target inside",
            |_| Tar::new().file("d/f", b"x").hard_link("h", "/d/f").end(),
            Harmless(|layer| assert_eq!(content(layer.join("h")), "x")),
        ),
        (
            "a target that is missing",
            |_| Tar::new().hard_link("h", "f").end(),
            Refused("the target \"f\" of the hard link is not in the layer before it"),
        ),
        (
            "a target that comes later",
            |_| Tar::new().hard_link("h", "f").file("f", b"").end(),
            Refused("is not in the layer before it"),
        ),
        (
            "a target through a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .hard_link("h", "l/file")
                    .end()
            },
            Refused("refused: its parent \"l\" is a symbolic link"),
        ),
        (
            "a target that is a directory",
            |_| Tar::new().dir("d").hard_link("h", "d").end(),
            Refused("the target \"d\" of the hard link is a directory"),
        ),
        (
            "a target that is the root",
            |_| Tar::new().hard_link("h", ".").end(),
            Refused("is a directory"),
        ),
        (
            "a link to itself",
            |_| Tar::new().file("f", b"").hard_link("f", "./f").end(),
            Refused("a hard link to itself"),
        ),
        (
            "no target",
            |_| Tar::new().hard_link("h", "").end(),
            Refused("a link without a target"),
        ),
        (
            "a link in the place of the directory its target is in",
            |_| {
                Tar::new()
                    .dir("d")
                    .file("d/f", b"")
                    .hard_link("d", "d/f")
                    .end()
            },
            Refused("is not in the layer before it"),
        ),
        (
            "a target that is a whiteout",
            |_| Tar::new().file(".wh.w", b"").hard_link("h", "w").end(),
            Refused("is not in the layer before it"),
        ),
        (
            "a target below a file",
            |_| Tar::new().file("f", b"").hard_link("h", "f/x").end(),
            Refused("its parent \"f\" is not a directory"),
        ),
    ]);
}

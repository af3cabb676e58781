//! Links, and what is done to and through them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Outcome::{Harmless, Refused};
use super::{content, names_in, run};
use crate::support;
use crate::support::tarball::{Header, Tar};

/// The regular files of a layer with their contents, found without following a link. The names of
/// the directory that a test is in differ each time, and are left out.
fn files(layer: &Path) -> Vec<String> {
    let mut found = Vec::new();
    support::visit(layer, &mut |path, stat| {
        if stat.is_file() {
            let shown = path.strip_prefix(layer).unwrap().to_str().unwrap();
            let shown = shown
                .rsplit_once("canary/")
                .map_or(shown, |(_, below)| below);
            found.push(format!("{shown}={}", content(path)));
        }
    });
    found.sort();
    found
}

/// A layer may lead through its own links, as writers do that merge /lib with /usr/lib. An absolute
/// target begins at the root of the layer, and `..` ends there.
#[test]
fn links_of_a_layer_lead_nowhere_but_into_it() {
    run(&[
        (
            "a file below a link out of the layer",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .file("l/file", b"inside")
                    .end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["file=inside"])),
        ),
        (
            "a file below a relative link out of the layer",
            |_| {
                Tar::new()
                    .symlink("l", "../../../../canary")
                    .file("l/file", b"inside")
                    .end()
            },
            Harmless(|layer| {
                assert_eq!(content(layer.join("canary/file")), "inside");
                assert!(layer.join("l").is_symlink());
            }),
        ),
        (
            "a file below a link to the parent of the root",
            |_| Tar::new().symlink("l", "..").file("l/x", b"inside").end(),
            Harmless(|layer| assert_eq!(content(layer.join("x")), "inside")),
        ),
        (
            "a file below a link that stays inside",
            |_| {
                Tar::new()
                    .dir("d")
                    .symlink("d/l", ".")
                    .file("d/l/l/x", b"inside")
                    .end()
            },
            Harmless(|layer| assert_eq!(content(layer.join("d/x")), "inside")),
        ),
        (
            "a file in a directory that is there behind a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary(""));
                tar.file("l/dir/new", b"inside").end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["dir/new=inside"])),
        ),
        (
            "a hard link to a file in a directory that is there behind a link",
            |world| {
                let tar = Tar::new().symlink("l", world.canary(""));
                tar.hard_link("h", "l/dir/inner").end()
            },
            Refused("the target \"l/dir/inner\" of the hard link is not in the layer before it"),
        ),
        (
            "a directory below a link",
            |world| Tar::new().symlink("l", world.canary("")).dir("l/new").end(),
            Harmless(|layer| assert!(layer.join("l").is_symlink())),
        ),
        (
            "parents made through a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .file("l/a/b/c", b"inside")
                    .end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["a/b/c=inside"])),
        ),
        (
            "a link below a link",
            |world| {
                Tar::new()
                    .symlink("l", world.canary(""))
                    .symlink("l/x", "y")
                    .file("l/x/z", b"inside")
                    .end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["y/z=inside"])),
        ),
        (
            "a hard link below a link",
            |world| {
                let tar = Tar::new()
                    .file("f", b"inside")
                    .symlink("l", world.canary(""));
                tar.hard_link("l/x", "f").end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["f=inside", "x=inside"])),
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
                assert_eq!(names_in(layer), ["l"]);
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
            Harmless(|layer| assert!(layer.join("l").is_symlink())),
        ),
        (
            "a directory that is replaced by a link and then written to",
            |world| {
                let tar = Tar::new()
                    .dir("d")
                    .file("d/a", b"gone")
                    .symlink("d", world.canary(""));
                tar.file("d/file", b"inside").end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["file=inside"])),
        ),
        (
            "a deep directory that is replaced by a link while it is held open",
            |world| {
                let tar = Tar::new()
                    .file("a/b/c/d/1", b"gone")
                    .symlink("a/b", world.canary(""));
                tar.file("a/b/c/d/2", b"inside").end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["c/d/2=inside"])),
        ),
        (
            "a link that is replaced by a directory, under which the old path was held",
            |world| {
                let tar = Tar::new()
                    .symlink("l", world.canary(""))
                    .file("l/1", b"through");
                tar.dir("l").file("l/2", b"direct").end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["1=through", "l/2=direct"])),
        ),
        (
            "a link whose target is a path through links",
            |_| {
                let tar = Tar::new()
                    .dir("usr")
                    .dir("usr/lib")
                    .symlink("lib", "usr/lib");
                tar.symlink("one", "lib/../lib/two")
                    .symlink("lib/two", "/lib/three")
                    .file("one/x", b"inside")
                    .end()
            },
            Harmless(|layer| assert_eq!(files(layer), ["usr/lib/three/x=inside"])),
        ),
        (
            "a file below a file",
            |_| Tar::new().file("f", b"").file("f/x", b"").end(),
            Refused("its parent \"f\" is not a directory"),
        ),
        (
            "a file below a link to a file",
            |_| {
                Tar::new()
                    .file("f", b"")
                    .symlink("l", "f")
                    .file("l/x", b"")
                    .end()
            },
            Refused("its parent \"f\" is not a directory"),
        ),
        (
            "links in a circle",
            |_| {
                let tar = Tar::new().symlink("a", "b").symlink("b", "./a/c");
                tar.file("a/x", b"").end()
            },
            Refused("entry \"a/x\": its parent \"a\" leads through too many symbolic links"),
        ),
        (
            "a link to itself",
            |_| Tar::new().symlink("a", "a").file("a/x/y", b"").end(),
            Refused("leads through too many symbolic links"),
        ),
        (
            "links that double a path",
            |_| {
                let mut tar = Tar::new().dir("l0");
                for at in 1..60 {
                    let below = format!("l{}", at - 1);
                    tar = tar.symlink(format!("l{at}"), format!("{below}/../{below}"));
                }
                tar.file("l59/x", b"").end()
            },
            Refused("leads through too many symbolic links"),
        ),
        (
            "a link into a place for whiteouts",
            |_| {
                let tar = Tar::new().symlink("l", ".wh.a");
                tar.file("l/x", b"").end()
            },
            Refused("a malformed whiteout"),
        ),
        (
            "a link to a name that is too long",
            |_| {
                let tar = Tar::new().symlink("l", "n".repeat(300));
                tar.file("l/x", b"").end()
            },
            Refused("the name is too long"),
        ),
    ]);
}

/// Without real owners, a link with another owner is kept as a regular file.
#[test]
fn links_of_others_are_followed_as_well() {
    run(&[(
        "a link of another user",
        |_| {
            let mut link = Header::new("lib", b'2');
            link.owner(5, 5).link("usr/lib");
            let tar = Tar::new().dir("usr").dir("usr/lib").header(&link);
            tar.file("lib/x", b"inside").hard_link("h", "lib/x").end()
        },
        Harmless(|layer| {
            assert_eq!(content(layer.join("usr/lib/x")), "inside");
            assert_eq!(content(layer.join("h")), "inside");
        }),
    )]);
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
            Refused("the target \"l/file\" of the hard link is not in the layer before it"),
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

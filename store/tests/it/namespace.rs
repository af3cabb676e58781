//! Imports as the root of a user namespace that has one id only, as any user can make one: real
//! owners as far as there are ids, and devices in records.
//!
//! The tests run themselves again inside such a namespace, made by unshare(1).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::{self, World, has_xattrs, is_opaque, is_whiteout, message, record, xattr};
use plyfs_store::Compression;
use plyfs_store::Ownership;
use plyfs_store::fixture::{EncodedLayer, Entry, Layer};

/// Set where the tests run inside.
const INSIDE: &str = "PLYFS_TEST_INSIDE_NAMESPACE";

/// A command in a new user namespace whose root is the user.
fn unshare(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--"])
        .arg(program);
    command
}

/// Runs the body of the test `name` inside a namespace of its own.
fn inside(name: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    match unshare("true".as_ref()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return support::skip(name, &why);
        }
        Err(error) => return support::skip(name, &format!("unshare: {error}")),
    }
    let program = std::env::current_exe().unwrap();
    support::run_again(unshare(&program).env(INSIDE, "1"), name);
}

fn archive(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    EncodedLayer::from_layer(&Layer::new(entries), Compression::None)
        .unwrap()
        .blob
}

#[test]
fn devices_become_records_and_marks_go_to_user_attributes() {
    inside(this_test!(), || {
        let world = World::new();
        if !has_xattrs(&world.path("."), this_test!()) {
            return;
        }
        let archive = archive([
            Entry::char_device("null", 1, 3).mode(0o666),
            Entry::block_device("disk", 8, 1).mode(0o600),
            Entry::file("su", "x")
                .mode(0o4755)
                .xattr("trusted.x", "x")
                .xattr("user.x", "x"),
            Entry::fifo("p"),
            Entry::dir("d"),
            Entry::opaque("d"),
            Entry::whiteout("gone"),
        ]);
        world.import_archive(&archive, Ownership::Real).unwrap();
        let layer = world.layer();
        for (name, mode, expected) in [
            ("null", 0o666, "0:0:666:char-1-3"),
            ("disk", 0o600, "0:0:600:block-8-1"),
        ] {
            let stat = fs::symlink_metadata(layer.join(name)).unwrap();
            assert!(stat.is_file() && stat.len() == 0);
            assert_eq!(stat.mode() & 0o7777, mode);
            assert_eq!(record(&layer.join(name)).as_deref(), Some(expected));
        }
        assert_eq!(
            fs::metadata(layer.join("su")).unwrap().mode() & 0o7777,
            0o4755
        );
        assert!(is_opaque(&layer.join("d")) && is_whiteout(&layer.join("gone")));
        assert_eq!(
            xattr(&layer.join("d"), "user.overlay.opaque").unwrap(),
            b"y"
        );
        let image = world.store().image("test:1").unwrap();
        let facts = &image.layers[0].record.facts;
        assert_eq!(
            (facts.overrides, facts.xattrs, facts.xattrs_dropped),
            (2, 1, 1)
        );
    });
}

#[test]
fn an_owner_without_an_id_is_named() {
    inside(this_test!(), || {
        let world = World::new();
        for entry in [
            Entry::file("d/f", "x").owner(33, 0),
            Entry::dir("d/f").owner(0, 33),
            Entry::symlink("d/f", "x").owner(33, 33),
            Entry::fifo("d/f").owner(33, 33),
        ] {
            let refused = world
                .import_archive(&archive([entry]), Ownership::Real)
                .unwrap_err();
            assert_eq!(refused.errno(), Some(rustix::io::Errno::INVAL));
            let message = message(&refused);
            assert!(message.contains("entry \"d/f\": its owner "), "{message}");
            assert!(message.contains("33"), "{message}");
            assert!(
                message.ends_with("has no id in this user namespace"),
                "{message}"
            );
            world.assert_untouched("an owner without an id");
        }
    });
}

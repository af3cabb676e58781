//! What is moved or changed without its data: redirects, metacopy, and what replaces them where they
//! are not made.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::*;
use plyfs_fs::types::SetAttr;
use plyfs_fs::{Errno, RedirectDir};
use rustix::fs::RenameFlags;

const MODES: [RedirectDir; 2] = [RedirectDir::On, RedirectDir::Follow];

/// A tree in two lower layers, of which some is hidden.
fn tree(redirect_dir: RedirectDir) -> Stack {
    let mut stack = Stack::new(2);
    put(&stack.lower(1, "d/sub/deep"), "deep");
    put(&stack.lower(1, "d/f"), "bottom");
    put(&stack.lower(1, "e/hidden"), "");
    put(&stack.lower(0, "d/f"), "top");
    put(&stack.lower(0, "d/sub/more"), "more");
    stack.redirect_dir = redirect_dir;
    stack.open();
    stack
}

fn has_record(stack: &Stack, path: &str, record: &str) -> bool {
    ["trusted", "user"].iter().any(|namespace| {
        let name = format!("{namespace}.overlay.{record}");
        rustix::fs::lgetxattr(stack.upper(path), name, &mut [0u8; 300][..]).is_ok()
    })
}

#[test]
fn a_lower_directory_is_renamed_in_every_mode() {
    for mode in MODES {
        let mut stack = tree(mode);
        stack.unlink("d/sub/more").unwrap();
        stack.rename("d", "new").unwrap();
        for _ in 0..2 {
            assert_eq!(stack.list(""), ["e", "new"], "{mode:?}");
            assert_eq!(stack.list("new"), ["f", "sub"], "{mode:?}");
            assert_eq!(stack.list("new/sub"), ["deep"], "{mode:?}");
            assert_eq!(stack.read("new/f"), "top");
            assert_eq!(stack.read("new/sub/deep"), "deep");
            assert!(!stack.exists("d"));
            stack.remount();
        }
        assert_eq!(
            has_record(&stack, "new", "redirect"),
            mode == RedirectDir::On
        );
    }
}

#[test]
fn a_renamed_directory_is_renamed_again_and_its_name_made_again() {
    for mode in MODES {
        let mut stack = tree(mode);
        stack.rename("d", "a").unwrap();
        stack.mkdir("d").unwrap();
        assert!(stack.list("d").is_empty());
        stack.create("d/own", "x").unwrap();
        stack.mkdir("up").unwrap();
        stack.rename("a", "up/b").unwrap();
        stack.rename("up/b/sub", "d/sub").unwrap();
        stack.rename("up", "down").unwrap();
        for _ in 0..2 {
            assert_eq!(stack.list(""), ["d", "down", "e"], "{mode:?}");
            assert_eq!(stack.list("d"), ["own", "sub"], "{mode:?}");
            assert_eq!(stack.list("d/sub"), ["deep", "more"], "{mode:?}");
            assert_eq!(stack.list("down/b"), ["f"], "{mode:?}");
            stack.remount();
        }
        stack.rmdir("e").unwrap_err();
        stack.unlink("e/hidden").unwrap();
        stack.rename("down/b", "e").unwrap();
        stack.remount();
        assert_eq!(stack.list("e"), ["f"], "{mode:?}");
    }
}

#[test]
fn merged_directories_are_exchanged() {
    for mode in MODES {
        let mut stack = tree(mode);
        let ino = |stack: &Stack, path: &str| stack.attr(path).unwrap().ino;
        let (d, e) = (ino(&stack, "d"), ino(&stack, "e"));
        stack.rename_with("d", "e", RenameFlags::EXCHANGE).unwrap();
        for _ in 0..2 {
            assert_eq!(stack.list("e"), ["f", "sub"], "{mode:?}");
            assert_eq!(stack.list("d"), ["hidden"], "{mode:?}");
            if mode == RedirectDir::On {
                assert_eq!((ino(&stack, "e"), ino(&stack, "d")), (d, e));
            }
            stack.remount();
        }
    }
}

/// Another directory is put in its place first, which is empty for rename(2), too.
#[test]
fn a_replaced_directory_stays_what_it_was_to_who_has_it_open() {
    let mut stack = Stack::new(1);
    fs::create_dir(stack.lower(0, "d")).unwrap();
    set_xattr(&stack.lower(0, "d"), "user.note", "kept");
    stack.open();
    stack.chmod("d", 0o700).unwrap();
    stack.remount();
    let held = stack.hold("d");
    let before = stack.fs().getattr(held).unwrap();
    stack.mkdir("e").unwrap();
    stack.rename("e", "d").unwrap();
    let now = stack.fs().getattr(held).unwrap();
    assert_eq!((now.ino, now.mtime), (before.ino, before.mtime));
    let note = stack.fs().getxattr(held, "user.note".as_ref());
    assert_eq!(note.unwrap(), b"kept");
    stack.fs().forget(held, 1);
}

#[test]
fn a_redirect_in_a_lower_layer_is_followed() {
    let stack = tree(RedirectDir::On);
    stack.rename("d/sub", "e/moved").unwrap();
    stack.rename("e", "g").unwrap();
    // The upper directory of one mount is a lower one of the next.
    let mut above = Stack::new(3);
    for (from, to) in [
        (stack.upper(""), 0),
        (stack.lower(0, ""), 1),
        (stack.lower(1, ""), 2),
    ] {
        copy_tree(&from, &above.lower(to, ""));
    }
    above.redirect_dir = RedirectDir::On;
    above.open();
    assert_eq!(above.list(""), ["d", "g"]);
    assert_eq!(above.list("g"), ["hidden", "moved"]);
    assert_eq!(above.list("g/moved"), ["deep", "more"]);
    above.rename("g/moved", "again").unwrap();
    above.remount();
    assert_eq!(above.list("again"), ["deep", "more"]);
    assert_eq!(above.read("again/deep"), "deep");

    above.redirect_dir = RedirectDir::NoFollow;
    above.remount();
    assert_eq!(above.attr("g").unwrap_err(), Errno::PERM);
}

/// `cp -a`, which keeps whiteouts and records.
fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp")
        .args(["-a", "--"])
        .arg(from.join("."))
        .arg(to)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn an_attribute_is_changed_without_the_data() {
    let mut stack = Stack::new(1);
    let data = "data".repeat(10_000);
    put(&stack.lower(0, "d/f"), &data);
    stack.metacopy = true;
    stack.redirect_dir = RedirectDir::On;
    stack.open();
    let before = stack.attr("d/f").unwrap();
    stack.chmod("d/f", 0o600).unwrap();
    assert_eq!(
        fs::metadata(stack.upper("d/f")).unwrap().size(),
        before.size
    );
    assert!(fs::metadata(stack.upper("d/f")).unwrap().blocks() < before.blocks);
    assert!(has_record(&stack, "d/f", "metacopy"));
    for _ in 0..2 {
        let now = stack.attr("d/f").unwrap();
        assert_eq!(
            (now.mode, now.size, now.blocks),
            (0o600, before.size, before.blocks)
        );
        assert_eq!((now.ino, now.mtime), (before.ino, before.mtime));
        assert_eq!(stack.read("d/f"), data);
        stack.remount();
    }
    // Moved with and without its directory, and under a second name, its data is still found.
    stack.rename("d/f", "d/g").unwrap();
    stack.link("d/g", "h").unwrap();
    stack.rename("d", "e").unwrap();
    for _ in 0..2 {
        assert_eq!(stack.read("e/g"), data);
        assert_eq!(stack.read("h"), data);
        stack.remount();
    }
    // The first write brings the data, for both names.
    stack.write("h", 4, "DATA").unwrap();
    assert!(!has_record(&stack, "e/g", "metacopy"));
    let changed = format!("dataDATA{}", &data[8..]);
    for _ in 0..2 {
        assert_eq!(stack.read("e/g"), changed);
        assert_eq!(stack.read("h"), changed);
        stack.remount();
    }
}

#[test]
fn a_metacopy_that_is_truncated_holds_what_is_left() {
    for size in [0, 5, 40_000, 50_000] {
        let mut stack = Stack::new(1);
        let data = "data".repeat(10_000);
        put(&stack.lower(0, "f"), &data);
        stack.metacopy = true;
        stack.open();
        let held = stack.hold("f");
        stack.chmod("f", 0o640).unwrap();
        assert_eq!(read_node(stack.fs(), held), data.as_bytes());
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        stack.setattr("f", set).unwrap();
        let mut expected = data.clone().into_bytes();
        expected.resize(size as usize, 0);
        assert_eq!(read_node(stack.fs(), held), expected);
        stack.remount();
        assert_eq!(stack.read("f").into_bytes(), expected);
    }
}

#[test]
fn a_metacopy_is_read_and_completed_where_none_are_made() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "data");
    stack.metacopy = true;
    stack.open();
    stack.chmod("f", 0o600).unwrap();
    stack.metacopy = false;
    stack.remount();
    assert_eq!(stack.read("f"), "data");
    // Without redirects it can only be moved with its data.
    stack.rename("f", "g").unwrap();
    assert!(!has_record(&stack, "g", "metacopy"));
    assert_eq!(fs::read(stack.upper("g")).unwrap(), b"data");
}

#[test]
fn a_metacopy_without_its_data_is_an_error_and_not_zeros() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/f"), "data");
    stack.metacopy = true;
    stack.open();
    stack.chmod("d/f", 0o600).unwrap();
    let mut other = Stack::new(1);
    copy_tree(&stack.upper(""), &other.upper(""));
    other.open();
    assert_eq!(other.attr("d/f").unwrap_err(), Errno::IO);
}

/// fstests overlay/088: to who does not know that it is a metacopy, it is a file of zeros.
#[test]
fn a_lower_metacopy_without_its_data_is_an_error_where_none_are_made() {
    let mut stack = Stack::new(3);
    stack.data = 1;
    put(&stack.lower(0, "d/f"), "");
    let file = fs::File::options().write(true).open(stack.lower(0, "d/f"));
    file.unwrap().set_len(7).unwrap();
    set_xattr(&stack.lower(0, "d/f"), &own_record("metacopy"), "");
    // Where it takes a block of its own.
    let large = "large".repeat(200);
    set_xattr(&stack.lower(0, "d/f"), "user.large", &large);
    stack.open();
    assert_eq!(stack.attr("d/f").unwrap_err(), Errno::IO);
}

/// fstests overlay/059: cp -a of an upper layer copies the records, too.
#[test]
fn copies_of_one_origin_have_numbers_of_their_own() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "data");
    stack.open();
    stack.chmod("f", 0o600).unwrap();
    stack.rename("f", "one").unwrap();
    stack.close();
    put(&stack.upper("other"), "else");
    let record = own_record("origin");
    let mut origin = [0; 256];
    let Ok(len) = rustix::fs::getxattr(stack.upper("one"), &record, &mut origin[..]) else {
        return skip(this_test!(), "no origin");
    };
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(stack.upper("other"), &record, &origin[..len], none).unwrap();
    stack.open();
    let held = ["one", "other"].map(|name| stack.hold(name));
    let [one, other] = held.map(|id| stack.fs().getattr(id).unwrap().ino);
    assert_ne!(one, other);
    assert_eq!(stack.listed_ino("", "one"), one);
    assert_eq!(stack.listed_ino("", "other"), other);
    held.iter().for_each(|id| stack.fs().forget(*id, 1));
}

/// fstests overlay/038.
#[test]
fn an_emptied_directory_is_pure_again() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "data");
    stack.open();
    stack.mkdir("d").unwrap();
    stack.rename("f", "d/f").unwrap();
    let impure = || get_xattr(&stack.upper("d"), &own_record("impure"));
    if impure().is_none() {
        return skip(this_test!(), "no origin");
    }
    stack.list("d");
    assert_eq!(impure().as_deref(), Some("y"));
    stack.unlink("d/f").unwrap();
    stack.list("d");
    assert_eq!(impure(), None);
    stack.create("g", "").unwrap();
    stack.rename("g", "d/g").unwrap();
    assert_eq!(impure(), None);
}

/// fstests overlay/056.
#[test]
fn a_copied_directory_keeps_its_origin() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/e/f"), "data");
    stack.open();
    let before = stack.attr("d/e").unwrap().ino;
    stack.chmod("d/e/f", 0o600).unwrap();
    let has = |path: &str, record| get_xattr(&stack.upper(path), &own_record(record)).is_some();
    if !has("d/e/f", "origin") {
        return skip(this_test!(), "no origin");
    }
    assert!(has("d/e", "origin") && has("d", "origin"));
    assert!(has("", "impure") && has("d", "impure") && has("d/e", "impure"));
    stack.remount();
    assert_eq!(stack.attr("d/e").unwrap().ino, before);
    assert_eq!(stack.listed_ino("d", "e"), before);
}

#[test]
fn data_lies_in_a_layer_of_its_own() {
    let mut stack = Stack::new(3);
    stack.data = 1;
    put(&stack.lower(2, "blobs/ab/cd"), "content");
    put(&stack.lower(0, "d/f"), "");
    let file = fs::File::options()
        .write(true)
        .open(stack.lower(0, "d/f"))
        .unwrap();
    file.set_len(7).unwrap();
    let namespace = if is_root() { "trusted" } else { "user" };
    let set = |record: &str, value: &[u8]| {
        let (path, name) = (
            stack.lower(0, "d/f"),
            format!("{namespace}.overlay.{record}"),
        );
        rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())
    };
    if let Err(error) = set("metacopy", b"").and_then(|()| set("redirect", b"/blobs/ab/cd")) {
        return skip(this_test!(), &error.to_string());
    }
    stack.metacopy = true;
    stack.redirect_dir = RedirectDir::On;
    stack.open();
    assert_eq!(stack.list(""), ["d"]);
    assert_eq!(stack.read("d/f"), "content");
    stack.chmod("d/f", 0o600).unwrap();
    stack.rename("d/f", "g").unwrap();
    assert_eq!(stack.read("g"), "content");
    stack.remount();
    assert_eq!(stack.read("g"), "content");
    stack.write("g", 0, "C").unwrap();
    stack.remount();
    assert_eq!(stack.read("g"), "Content");
    assert_eq!(stack.attr("g").unwrap().mode, 0o600);
}

#[test]
fn a_number_stays_what_it_was_after_copy_up_and_remount() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/f"), "x");
    put(&stack.lower(0, "g"), "x");
    stack.open();
    let before = stack.attr("d/f").unwrap().ino;
    stack.write("d/f", 0, "y").unwrap();
    assert_eq!(stack.attr("d/f").unwrap().ino, before);
    stack.rename("d/f", "moved").unwrap();
    stack.create("new", "").unwrap();
    let tmp_has_handles = has_record(&stack, "moved", "origin");
    for _ in 0..2 {
        if tmp_has_handles {
            assert_eq!(stack.attr("moved").unwrap().ino, before);
            assert_eq!(stack.listed_ino("", "moved"), before);
        }
        assert_eq!(stack.read("moved"), "y");
        stack.remount();
    }
    if !tmp_has_handles {
        skip(
            this_test!(),
            "the file system of the temporary directory has no file handles",
        );
    }
}

//! Hard links of lower files, which the index keeps one file.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::*;
use plyfs_fs::{IndexUse, MountError, Overlay, RedirectDir};
use rustix::fs::RenameFlags;

/// One lower file with three names; `None`, said aloud, where there can be no index.
fn links(test: &str) -> Option<Stack> {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/a"), "text");
    fs::create_dir(stack.lower(0, "e")).unwrap();
    for name in ["d/b", "e/c"] {
        fs::hard_link(stack.lower(0, "d/a"), stack.lower(0, name)).unwrap();
    }
    stack.index = IndexUse::On;
    stack.open();
    if !stack.fs().has_index() {
        skip(test, "the file system has no handles");
        return None;
    }
    Some(stack)
}

/// Asserts that these names, and no others, are one file with this content.
fn assert_one(stack: &Stack, names: &[&str], content: &str) {
    let first = stack.attr(names[0]).unwrap();
    for name in names {
        let attr = stack.attr(name).unwrap();
        assert_eq!(
            (attr.ino, attr.nlink),
            (first.ino, names.len() as u32),
            "{name}"
        );
        assert_eq!(stack.read(name), content, "{name}");
        let (dir, last) = name.rsplit_once('/').unwrap_or(("", name));
        assert_eq!(stack.listed_ino(dir, last), first.ino, "{name}");
    }
}

/// As [`assert_one`], now and after a remount.
fn assert_stays_one(stack: &mut Stack, names: &[&str], content: &str) {
    assert_one(stack, names, content);
    stack.remount();
    assert_one(stack, names, content);
}

/// The move gives all names of the directory to the upper layer, and detaches it from the lower one.
#[test]
fn names_of_an_indexed_file_are_found_after_their_directory_moved() {
    let name = this_test!();
    let Some(mut stack) = links(name) else {
        return;
    };
    // Held, so that what is known of it stays.
    stack.hold("d");
    stack.create("d/own", "own").unwrap();
    stack.write("d/b", 0, "TE").unwrap();
    assert_eq!(stack.list("d"), ["a", "b", "own"]);
    stack.rename("d", "moved").unwrap();
    assert_stays_one(&mut stack, &["moved/a", "moved/b", "e/c"], "TExt");
}

fn in_index(stack: &Stack) -> usize {
    let entries = fs::read_dir(stack.work().parent().unwrap().join("index")).unwrap();
    // Besides what is being made, or shared, there.
    let is_entry = |name: &std::ffi::OsString| !name.as_encoded_bytes().starts_with(b"#");
    entries
        .map(|entry| entry.unwrap().file_name())
        .filter(is_entry)
        .count()
}

/// Fault 12.
#[test]
fn links_stay_one_file_across_copy_up_and_remount() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    let before = stack.attr("d/a").unwrap().ino;
    let held = stack.hold("e/c");
    stack.write("d/b", 0, "TE").unwrap();
    assert_eq!(read_node(stack.fs(), held), b"TExt");
    stack.fs().forget(held, 1);
    assert_stays_one(&mut stack, &["d/a", "d/b", "e/c"], "TExt");
    stack.write("e/c", 2, "XT").unwrap();
    assert_stays_one(&mut stack, &["d/a", "d/b", "e/c"], "TEXT");
    assert_eq!(stack.attr("e/c").unwrap().ino, before);
    assert_eq!(in_index(&stack), 1);
}

#[test]
fn names_come_and_go_until_the_last() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    stack.unlink("d/a").unwrap();
    assert_stays_one(&mut stack, &["d/b", "e/c"], "text");
    stack.link("e/c", "new").unwrap();
    assert_stays_one(&mut stack, &["d/b", "e/c", "new"], "text");
    stack.write("new", 0, "T").unwrap();
    stack.unlink("e/c").unwrap();
    assert_stays_one(&mut stack, &["d/b", "new"], "Text");
    stack.rename("d/b", "e/moved").unwrap();
    assert_stays_one(&mut stack, &["e/moved", "new"], "Text");
    let held = stack.hold("new");
    stack.unlink("new").unwrap();
    stack.unlink("e/moved").unwrap();
    assert_eq!(stack.fs().getattr(held).unwrap().nlink, 0);
    assert_eq!(read_node(stack.fs(), held), b"Text");
    stack.fs().forget(held, 1);
    assert_eq!(in_index(&stack), 0);
    stack.remount();
    assert!(stack.list("d").is_empty() && stack.list("e").is_empty());
}

#[test]
fn a_name_of_several_is_replaced_and_exchanged() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    stack.create("x", "other").unwrap();
    stack
        .rename_with("d/a", "x", RenameFlags::EXCHANGE)
        .unwrap();
    assert_eq!(stack.read("d/a"), "other");
    assert_stays_one(&mut stack, &["x", "d/b", "e/c"], "text");
    stack.rename("d/a", "d/b").unwrap();
    assert_eq!(stack.read("d/b"), "other");
    assert_stays_one(&mut stack, &["x", "e/c"], "text");
    // One name over another of the same file changes nothing, as rename(2) says.
    stack.rename("x", "e/c").unwrap();
    assert_stays_one(&mut stack, &["x", "e/c"], "text");
}

#[test]
fn links_move_with_their_directories() {
    for mode in [RedirectDir::On, RedirectDir::Follow] {
        for metacopy in [false, true] {
            let Some(mut stack) = links(this_test!()) else {
                return;
            };
            stack.redirect_dir = mode;
            stack.metacopy = metacopy;
            stack.remount();
            stack.chmod("d/a", 0o600).unwrap();
            stack.rename("d", "moved").unwrap();
            stack.link("moved/b", "new").unwrap();
            stack.rename("moved/a", "e/a").unwrap();
            let names = ["e/a", "moved/b", "e/c", "new"];
            assert_stays_one(&mut stack, &names, "text");
            assert_eq!(stack.attr("new").unwrap().mode, 0o600);
            stack.write("new", 0, "T").unwrap();
            assert_stays_one(&mut stack, &names, "Text");
        }
    }
}

#[test]
fn what_a_crash_leaves_in_the_index_is_removed() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    stack.write("d/a", 0, "T").unwrap();
    for name in ["d/a", "d/b", "e/c"] {
        let held = stack.hold(name);
        stack.unlink(name).unwrap();
        stack.fs().forget(held, 1);
    }
    assert_eq!(in_index(&stack), 0);
    // The entry was to be removed when the machine went down.
    let index = stack.work().parent().unwrap().join("index");
    fs::write(index.join("00fb1d"), "").unwrap();
    let path = index.join("00fb1d");
    set_xattr(&path, &own_record("nlink"), "U-1");
    stack.remount();
    assert_eq!(in_index(&stack), 0);
}

#[test]
fn an_index_of_other_layers_is_not_used() {
    let Some(stack) = links(this_test!()) else {
        return;
    };
    let mut config = stack.config();
    drop(stack);
    let stack = links(this_test!()).unwrap();
    let other = Stack::new(1);
    config = plyfs_fs::Config {
        lowers: other.config().lowers,
        upper: stack.config().upper,
        ..config
    };
    let opened = {
        let mut stack = stack;
        stack.close();
        let refused = Overlay::open(&config);
        assert!(
            matches!(refused, Err(MountError::OtherLayers { .. })),
            "{refused:?}"
        );
        config.index = IndexUse::Auto;
        Overlay::open(&config).map(drop)
    };
    opened.unwrap();
}

#[test]
fn a_file_with_one_name_is_not_in_the_index() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    stack.create("f", "").unwrap();
    stack.link("f", "g").unwrap();
    assert_eq!(in_index(&stack), 0);
    assert_stays_one(&mut stack, &["f", "g"], "");
    assert_eq!(fs::metadata(stack.upper("f")).unwrap().nlink(), 2);
}

/// fstests overlay/034.
#[test]
fn a_file_whose_lower_names_grow_keeps_its_last() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    stack.changes_below();
    stack.chmod("d/a", 0o600).unwrap();
    let names = ["d/1", "d/2", "d/3"];
    let lower = |name| stack.lower(0, name);
    for name in names {
        fs::hard_link(lower("d/a"), lower(name)).unwrap();
    }
    let held = stack.hold("d/a");
    for name in names.iter().chain(&["d/b", "e/c"]) {
        stack.unlink(name).unwrap();
    }
    assert_eq!(stack.attr("d/a").unwrap().nlink, 1);
    assert_eq!(stack.read("d/a"), "text");
    stack.link("d/a", "d/4").unwrap();
    stack.fs().forget(held, 1);
}

/// fstests overlay/042.
#[test]
fn a_copy_from_before_the_index_is_a_file_of_its_own() {
    let Some(mut stack) = links(this_test!()) else {
        return;
    };
    put(&stack.upper("alone"), "text");
    stack.chmod("d/a", 0o600).unwrap();
    let record = own_record("origin");
    let mut origin = [0; 256];
    let len = rustix::fs::getxattr(stack.upper("d/a"), &record, &mut origin[..]).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(stack.upper("alone"), &record, &origin[..len], none).unwrap();
    set_xattr(&stack.upper(""), &own_record("impure"), "y");
    stack.remount();
    assert_one(&stack, &["d/a", "d/b", "e/c"], "text");
    let (one, alone) = (stack.attr("d/a").unwrap(), stack.attr("alone").unwrap());
    assert_ne!(one.ino, alone.ino);
}

/// fstests overlay/073: as in the kernel's overlay, all that is made is made in the index.
#[test]
fn the_index_is_the_work_directory() {
    let Some(stack) = links(this_test!()) else {
        return;
    };
    fs::remove_dir(stack.work()).unwrap();
    for name in ["d/a", "d/b", "e/c"] {
        stack.unlink(name).unwrap();
    }
    stack.rmdir("d").unwrap();
    stack.mkdir("d").unwrap();
    assert!(is_opaque(&stack.upper("d")));
    assert_eq!(in_index(&stack), 0);
}

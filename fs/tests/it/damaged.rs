//! Records of an overlay that say nothing that could be true. What is shown for them is an error, and
//! never something else.

use std::fs;

use crate::support::*;
use plyfs_fs::{Errno, Fill, RedirectDir, Wants};

/// A directory and a file of two layers. The file above is as large as the one below, and empty.
fn layers() -> Stack {
    let mut stack = Stack::new(2);
    put(&stack.lower(1, "d/below"), "");
    put(&stack.lower(1, "other/else"), "");
    put(&stack.lower(1, "f"), "data");
    put(&stack.lower(0, "d/above"), "");
    put(&stack.lower(0, "f"), "");
    put(&stack.lower(0, "sound"), "");
    let file = fs::File::options().write(true).open(stack.lower(0, "f"));
    file.unwrap().set_len(4).unwrap();
    stack.redirect_dir = RedirectDir::On;
    stack
}

const NO_REDIRECTS: [(&str, Errno); 9] = [
    ("", Errno::INVAL),
    ("a/b", Errno::INVAL),
    ("../../etc", Errno::INVAL),
    ("/", Errno::INVAL),
    ("//other", Errno::INVAL),
    ("/other/", Errno::INVAL),
    ("..", Errno::ACCESS),
    ("/../../etc", Errno::ACCESS),
    ("/other/../d", Errno::ACCESS),
];

#[test]
fn a_directory_with_a_redirect_to_nothing_is_an_error() {
    for (redirect, error) in NO_REDIRECTS {
        let mut stack = layers();
        set_xattr(&stack.lower(0, "d"), &own_record("redirect"), redirect);
        stack.open();
        assert_eq!(stack.attr("d").unwrap_err(), error, "{redirect:?}");
        assert_eq!(stack.list(""), ["d", "f", "other", "sound"], "{redirect:?}");
    }
}

#[test]
fn a_metacopy_with_a_redirect_to_nothing_shows_no_other_data() {
    for (redirect, error) in NO_REDIRECTS {
        let mut stack = layers();
        set_xattr(&stack.lower(0, "f"), &own_record("metacopy"), "");
        set_xattr(&stack.lower(0, "f"), &own_record("redirect"), redirect);
        stack.open();
        assert_eq!(stack.attr("f").unwrap_err(), error, "{redirect:?}");
    }
}

#[test]
fn a_redirect_to_a_name_that_cannot_be_leads_nowhere() {
    let mut stack = layers();
    let long = format!("/{}", "n".repeat(300));
    set_xattr(&stack.lower(0, "d"), &own_record("redirect"), &long);
    stack.open();
    assert_eq!(stack.list("d"), ["above"]);
}

#[test]
fn a_metacopy_whose_record_is_cut_off_is_an_error() {
    let mut stack = layers();
    set_xattr(&stack.lower(0, "f"), &own_record("metacopy"), "x");
    stack.open();
    assert_eq!(stack.attr("f").unwrap_err(), Errno::IO);
}

/// It made the whole directory impossible to list.
#[test]
fn a_damaged_file_does_not_hide_those_beside_it() {
    let mut stack = layers();
    set_xattr(&stack.lower(0, "f"), &own_record("metacopy"), "");
    set_xattr(&stack.lower(0, "f"), &own_record("redirect"), "/none");
    stack.open();
    let root = stack.fs().root();
    let mut listed = Vec::new();
    let mut found = Vec::new();
    let plus = stack
        .fs()
        .readdir_plus(root, 0, Wants::All, |entry, entry_found| {
            let name = entry.name.to_string_lossy().into_owned();
            listed.push((name, entry_found.is_some()));
            found.extend(entry_found.map(|entry| entry.id));
            Fill::More
        });
    plus.unwrap();
    listed.retain(|(name, _)| !name.starts_with('.'));
    listed.sort();
    let expected = [("d", true), ("f", false), ("other", true), ("sound", true)];
    assert_eq!(
        listed,
        expected.map(|(name, found)| (name.to_owned(), found))
    );
    assert_eq!(stack.list(""), expected.map(|(name, _)| name));
    found.iter().for_each(|id| stack.fs().forget(*id, 1));
}

#[test]
fn redirects_in_a_circle_end() {
    let mut stack = layers();
    for layer in [0, 1] {
        fs::create_dir_all(stack.lower(layer, "other")).unwrap();
        let set = |path: &str, to: &str| {
            set_xattr(&stack.lower(layer, path), &own_record("redirect"), to);
        };
        set("d", "/other");
        set("other", "/d");
    }
    stack.open();
    assert_eq!(stack.list("d"), ["above", "else"]);
    assert_eq!(stack.list("other"), ["below"]);
}

#[test]
fn other_records_that_say_nothing_are_let_be() {
    let mut stack = layers();
    for (path, record, value) in [
        ("d", "opaque", "n"),
        ("d", "origin", "garbage"),
        ("d", "impure", ""),
        ("sound", "opaque", "y"),
        ("sound", "origin", "\u{fb}"),
        ("sound", "nlink", "garbage"),
    ] {
        set_xattr(&stack.lower(0, path), &own_record(record), value);
    }
    fs::create_dir(stack.upper("d")).unwrap();
    set_xattr(&stack.upper("d"), &own_record("origin"), "garbage");
    stack.open();
    assert_eq!(stack.list("d"), ["above", "below"]);
    stack.write("sound", 0, "written").unwrap();
    stack.remount();
    assert_eq!(stack.read("sound"), "written");
}

#[test]
fn a_listing_makes_no_damaged_directory_sound() {
    let mut stack = layers();
    fs::create_dir(stack.upper("alone")).unwrap();
    set_xattr(&stack.upper("alone"), &own_record("redirect"), "..");
    stack.open();
    // Held, so that its listing is, too.
    let root = stack.fs().root();
    list_node(stack.fs(), root);
    assert_eq!(stack.attr("alone").unwrap_err(), Errno::ACCESS);
}

/// What `f` returns, which must not wait for anything.
fn at_once<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        scope.spawn(move || tell.send(f()));
        let late = std::time::Duration::from_secs(10);
        told.recv_timeout(late).unwrap_or_else(|_| {
            // A thread that waits in open(2) would keep the test from ending.
            fail_without_waiting("an operation that must not wait still waits")
        })
    })
}

/// The one thread that reads requests would wait for a writer, and everybody for it.
#[test]
fn a_known_file_that_is_replaced_by_a_fifo_is_an_error_at_once() {
    use std::os::unix::net::UnixListener;
    let fifo = |path: &std::path::Path| {
        let mode = rustix::fs::Mode::RUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    };
    let socket = |path: &std::path::Path| drop(UnixListener::bind(path).unwrap());
    let kinds: [&dyn Fn(&std::path::Path); 2] = [&fifo, &socket];
    for make in kinds {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "lower"), "lower");
        std::os::unix::fs::symlink("x", stack.lower(0, "link")).unwrap();
        stack.open();
        stack.changes_below();
        stack.create("upper", "").unwrap();
        let known = ["lower", "upper", "link"].map(|name| stack.hold(name));
        for path in [
            stack.lower(0, "lower"),
            stack.upper("upper"),
            stack.lower(0, "link"),
        ] {
            fs::remove_file(&path).unwrap();
            make(&path);
        }
        let fs = stack.fs();
        for id in &known[..2] {
            let read = at_once(|| fs.read(*id, 0, &mut [0; 8]));
            assert_eq!(read, Err(Errno::STALE));
            let written = at_once(|| fs.write(*id, 0, b"x", Default::default()));
            assert_eq!(written, Err(Errno::STALE));
            let flags = at_once(|| fs.file_flags(*id));
            assert_eq!(flags, Err(Errno::STALE));
        }
        let target = at_once(|| fs.readlink(known[2]));
        assert!(target.is_err(), "{target:?}");
        for id in known {
            fs.forget(id, 1);
        }
    }
}

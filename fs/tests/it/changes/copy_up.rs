//! Copying up, and what a copy keeps.

use super::*;

#[test]
fn a_directory_over_a_whiteout_is_made_opaque_once() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/f"), "");
    stack.redirect_dir = plyfs_fs::RedirectDir::On;
    stack.open();
    stack.remove_all("d");
    let upper = stack.upper("");
    // It comes there complete.
    let changed = with_changed_attributes(&upper, || stack.mkdir("d").unwrap());
    assert_eq!(changed, [""; 0]);
    assert!(is_opaque(&stack.upper("d")));
    // Where nothing is below, it gets the mark in its place.
    let changed = with_changed_attributes(&upper, || stack.mkdir("new").unwrap());
    assert_eq!(changed, ["new"]);
    assert!(is_opaque(&stack.upper("new")));
}

#[test]
fn writing_copies_up_and_leaves_the_rest_alone() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a/b/f"), "0123456789");
    put(&stack.lower(0, "a/b/other"), "other");
    stack.open();
    assert_eq!(stack.write("a/b/f", 3, "xyz"), Ok(3));
    assert_eq!(stack.read("a/b/f"), "012xyz6789");
    assert_eq!(
        fs::read_to_string(stack.upper("a/b/f")).unwrap(),
        "012xyz6789"
    );
    assert!(!stack.upper("a/b/other").exists());
    assert_eq!(stack.list("a/b"), ["f", "other"]);
    assert_eq!(fs::read_dir(stack.work()).unwrap().count(), 0);
    stack.remount();
    assert_eq!(stack.read("a/b/f"), "012xyz6789");
}

#[test]
fn a_copy_has_everything_the_file_had() {
    let mut stack = Stack::new(1);
    let file = stack.lower(0, "d/f");
    put(&file, "text");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o2751)).unwrap();
    fs::set_permissions(stack.lower(0, "d"), fs::Permissions::from_mode(0o1770)).unwrap();
    set_xattr(&file, "user.note", "kept");
    set_xattr(&file, &own_record("nlink"), "not kept");
    let time = Timestamp {
        secs: 1_000_000_000,
        nanos: 123_456_789,
    };
    let spec = rustix::fs::Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    };
    let times = rustix::fs::Timestamps {
        last_access: spec,
        last_modification: spec,
    };
    let none = rustix::fs::AtFlags::empty();
    for path in [&file, &stack.lower(0, "d")] {
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, none).unwrap();
    }
    stack.open();
    let before = stack.attr("d/f").unwrap();
    let id = stack.hold("d/f");
    let name = "user.other".as_ref();
    stack
        .fs()
        .setxattr(&me(), id, name, b"new", XattrFlags::CREATE)
        .unwrap();
    let after = stack.attr("d/f").unwrap();
    assert_eq!(
        (
            after.ino,
            after.mode,
            after.mtime,
            after.uid,
            after.gid,
            after.size
        ),
        (
            before.ino,
            before.mode,
            before.mtime,
            before.uid,
            before.gid,
            before.size
        )
    );
    assert_eq!(after.mtime, time);
    let upper = stack.upper("d/f");
    assert_eq!(get_xattr(&upper, "user.note").as_deref(), Some("kept"));
    assert_eq!(get_xattr(&upper, "user.other").as_deref(), Some("new"));
    assert_eq!(get_xattr(&upper, &own_record("nlink")), None);
    let dir = fs::metadata(stack.upper("d")).unwrap();
    assert_eq!(dir.mode() & 0o7777, 0o1770);
    assert_eq!(
        dir.mtime(),
        time.secs,
        "copying a file up is no change of its directory"
    );
}

/// Fault 9: a sparse file stays sparse across copy-up.
#[test]
fn holes_are_not_filled() {
    let mut stack = Stack::new(1);
    let file = fs::File::create(stack.lower(0, "sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 8 << 20).unwrap();
    file.set_len(64 << 20).unwrap();
    drop(file);
    stack.open();
    stack.chmod("sparse", 0o600).unwrap();
    let upper = fs::metadata(stack.upper("sparse")).unwrap();
    assert_eq!(upper.len(), 64 << 20);
    assert!(upper.blocks() * 512 < 1 << 20, "{} blocks", upper.blocks());
    let id = stack.hold("sparse");
    let mut buffer = [0; 4];
    stack.fs().read(id, 8 << 20, &mut buffer).unwrap();
    assert_eq!(&buffer, b"data");
}

/// No data is copied that is about to be cut off.
#[test]
fn truncation_copies_only_what_stays() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "0123456789");
    put(&stack.lower(0, "g"), "0123456789");
    stack.open();
    let size = |size| SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    assert_eq!(stack.setattr("f", size(4)).unwrap().size, 4);
    assert_eq!(stack.read("f"), "0123");
    assert_eq!(stack.setattr("g", size(12)).unwrap().size, 12);
    assert_eq!(stack.read("g"), "0123456789\0\0");
}

/// Fault 16: special files of a lower layer are copied up as what they are.
#[test]
fn special_files_are_copied_up_as_they_are() {
    let mut stack = Stack::new(1);
    rustix::fs::mkfifoat(rustix::fs::CWD, stack.lower(0, "fifo"), 0o600.into()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(stack.lower(0, "socket")).unwrap());
    std::os::unix::fs::symlink("fifo", stack.lower(0, "link")).unwrap();
    stack.open();
    stack.chmod("fifo", 0o644).unwrap();
    stack.chmod("socket", 0o644).unwrap();
    stack.rename("link", "moved").unwrap();
    assert_eq!(stack.attr("fifo").unwrap().kind, FileKind::Fifo);
    assert_eq!(stack.attr("socket").unwrap().kind, FileKind::Socket);
    assert_eq!(
        fs::read_link(stack.upper("moved")).unwrap().to_str(),
        Some("fifo")
    );
    assert!(is_whiteout(&stack.upper("link")));
}

//! Extended attributes and whiteouts.

use super::*;

#[test]
fn whiteouts_are_not_made_by_users() {
    let mut stack = Stack::new(1);
    stack.open();
    let fs = stack.fs();
    let made = fs.mknod(&me(), fs.root(), "w".as_ref(), 0o020_600, Device::default());
    assert_eq!(made, Err(Errno::PERM));
    stack.create("f", "").unwrap();
    let id = stack.hold("f");
    let record = own_record("opaque");
    let name = record.as_ref();
    match fs.setxattr(&me(), id, name, b"y", XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => return,
        other => other.unwrap(),
    }
    assert!(!is_opaque(&stack.upper("f")));
    assert_eq!(fs.getxattr(id, name).unwrap(), b"y");
    fs.removexattr(&me(), id, name).unwrap();
    assert_eq!(fs.getxattr(id, name), Err(Errno::NODATA));
}

#[test]
fn attributes_are_set_listed_and_removed() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/f"), "");
    make_opaque(&stack.lower(0, "d"));
    set_xattr(&stack.lower(0, "d/f"), "user.a", "1");
    stack.open();
    let fs = stack.fs();
    let (dir, file) = (stack.hold("d"), stack.hold("d/f"));
    assert_eq!(fs.listxattr(&me(), dir).unwrap(), b"");
    assert_eq!(fs.listxattr(&me(), file).unwrap(), b"user.a\0");
    let (a, b) = ("user.a".as_ref(), "user.b".as_ref());
    assert_eq!(fs.removexattr(&me(), file, b), Err(Errno::NODATA));
    let set = |name, flags| fs.setxattr(&me(), file, name, b"2", flags);
    assert_eq!(set(a, XattrFlags::CREATE), Err(Errno::EXIST));
    assert_eq!(set(b, XattrFlags::REPLACE), Err(Errno::NODATA));
    assert!(
        !stack.upper("d").exists(),
        "a change that fails copies nothing up"
    );
    set(b, XattrFlags::CREATE).unwrap();
    fs.removexattr(&me(), file, a).unwrap();
    assert_eq!(fs.listxattr(&me(), file).unwrap(), b"user.b\0");
}

/// A file whose mode does not let its owner write can still be written by who created it, also when
/// the daemon has no privileges.
#[test]
fn a_file_made_read_only_is_written_by_its_maker() {
    let mut stack = Stack::new(1);
    stack.open();
    let fs = stack.fs();
    let mode = S_IFREG | 0o444;
    let root = fs.root();
    let entry = fs
        .mknod(&me(), root, "f".as_ref(), mode, Device::default())
        .unwrap();
    fs.write(entry.id, 0, b"one", WriteMode::default()).unwrap();
    stack.chmod("f", 0).unwrap();
    fs.write(entry.id, 0, b"two", WriteMode::default()).unwrap();
    assert_eq!(read_node(fs, entry.id), b"two");
    assert_eq!(fs.getattr(entry.id).unwrap().mode, 0);
    // Opened again, with nothing kept from before.
    stack.remount();
    let id = stack.hold("f");
    stack
        .fs()
        .write(id, 0, b"three", WriteMode::default())
        .unwrap();
    assert_eq!(stack.fs().getattr(id).unwrap().mode, 0);
}

#[test]
fn records_of_an_overlay_above_are_kept_apart() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/f"), "");
    stack.open();
    let empty = rustix::fs::XattrFlags::empty();
    let fs = stack.fs();
    let id = stack.hold("d");
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        if !is_root() && name.starts_with("trusted") {
            continue;
        }
        let name = OsStr::new(name);
        match fs.setxattr(&me(), id, name, b"y", empty) {
            Err(Errno::OPNOTSUPP) => return skip(this_test!(), "no attributes"),
            other => other.unwrap(),
        }
        assert_eq!(fs.getxattr(id, name).unwrap(), b"y");
    }
    assert_eq!(stack.list("d"), ["f"]);
    stack.remount();
    assert_eq!(stack.list("d"), ["f"]);
}

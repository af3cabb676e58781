//! Layers whose owners, modes and devices are in `override_stat` records.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::*;
use plyfs_fs::types::{Caller, Device, FileKind, SetAttr};
use plyfs_fs::{Errno, OverrideStatMode};
use rustix::fs::XattrFlags;

const RECORD: &str = "user.containers.override_stat";

fn stack() -> Stack {
    let mut stack = Stack::new(1);
    stack.records = OverrideStatMode::All;
    stack.lower_records = OverrideStatMode::All;
    stack
}

fn record_of(path: &std::path::Path) -> Option<String> {
    get_xattr(path, RECORD)
}

#[test]
fn records_of_a_lower_layer_are_shown() {
    let mut stack = stack();
    put(&stack.lower(0, "d/f"), "text");
    set_xattr(&stack.lower(0, "d/f"), RECORD, "33:34:4755");
    set_xattr(&stack.lower(0, "d"), RECORD, "0:5:2770");
    put(&stack.lower(0, "d/link"), "target");
    set_xattr(&stack.lower(0, "d/link"), RECORD, "7:7:777:symlink");
    put(&stack.lower(0, "d/tty"), "");
    set_xattr(&stack.lower(0, "d/tty"), RECORD, "0:5:620:char-5-0");
    stack.open();
    let file = stack.attr("d/f").unwrap();
    assert_eq!((file.uid, file.gid, file.mode), (33, 34, 0o4755));
    let dir = stack.attr("d").unwrap();
    assert_eq!((dir.uid, dir.gid, dir.mode), (0, 5, 0o2770));
    let link = stack.attr("d/link").unwrap();
    assert_eq!((link.kind, link.uid), (FileKind::Symlink, 7));
    assert_eq!(
        stack.fs().readlink(stack.hold("d/link")).unwrap(),
        b"target"
    );
    let tty = stack.attr("d/tty").unwrap();
    assert_eq!(tty.kind, FileKind::Char);
    assert_eq!(tty.rdev, Device { major: 5, minor: 0 });
    let mut kinds = Vec::new();
    let dir = stack.hold("d");
    stack
        .fs()
        .readdir(dir, 2, |entry| {
            kinds.push((entry.name.to_string_lossy().into_owned(), entry.kind));
            plyfs_fs::Fill::More
        })
        .unwrap();
    kinds.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("f".to_owned(), FileKind::Regular),
        ("link".to_owned(), FileKind::Symlink),
        ("tty".to_owned(), FileKind::Char),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn copy_up_keeps_what_records_say() {
    let mut stack = stack();
    for (name, record) in [
        ("f", "33:34:4755"),
        ("link", "7:7:777:symlink"),
        ("tty", "0:5:620:char-5-0"),
    ] {
        put(&stack.lower(0, name), "target");
        set_xattr(&stack.lower(0, name), RECORD, record);
    }
    stack.open();
    for name in ["f", "link", "tty"] {
        let before = stack.attr(name).unwrap();
        let moved = format!("{name}2");
        stack.rename(name, &moved).unwrap();
        let after = stack.attr(&moved).unwrap();
        assert_eq!(
            (
                before.kind,
                before.mode,
                before.uid,
                before.gid,
                before.rdev,
                before.mtime
            ),
            (
                after.kind,
                after.mode,
                after.uid,
                after.gid,
                after.rdev,
                after.mtime
            ),
            "{name}"
        );
    }
    assert_eq!(stack.fs().readlink(stack.hold("link2")).unwrap(), b"target");
    let disk = fs::metadata(stack.upper("f2"))
        .unwrap()
        .permissions()
        .mode()
        & 0o7777;
    assert_eq!(disk, 0o755, "set-uid has no business on disk");
    stack.remount();
    assert_eq!(stack.attr("f2").unwrap().mode, 0o4755);
}

#[test]
fn changes_of_owner_and_mode_go_to_the_record() {
    let mut stack = stack();
    stack.open();
    stack.create("f", "text").unwrap();
    let owner = SetAttr {
        uid: Some(100),
        gid: Some(101),
        ..SetAttr::default()
    };
    stack.chmod("f", 0o4711).unwrap();
    let attr = stack.setattr("f", owner).unwrap();
    assert_eq!((attr.uid, attr.gid, attr.mode), (100, 101, 0o711));
    assert_eq!(record_of(&stack.upper("f")).as_deref(), Some("100:101:711"));
    assert_eq!(fs::metadata(stack.upper("f")).unwrap().uid(), me().uid);
    stack.chmod("f", 0).unwrap();
    stack.write("f", 0, "T").unwrap();
    assert_eq!(stack.attr("f").unwrap().mode, 0);
    stack.remount();
    assert_eq!(stack.attr("f").unwrap().uid, 100);
    assert_eq!(stack.read("f"), "Text");
}

#[test]
fn new_files_belong_to_who_made_them() {
    let mut stack = stack();
    stack.open();
    let fs = stack.fs();
    let caller = Caller {
        uid: 500,
        gid: 501,
        umask: 0o077,
        ..me()
    };
    let root = fs.root();
    let none = Device::default();
    let file = fs
        .mknod(&caller, root, "f".as_ref(), S_IFREG | 0o666, none)
        .unwrap();
    assert_eq!(
        (file.attr.uid, file.attr.gid, file.attr.mode),
        (500, 501, 0o600)
    );
    let dir = fs.mkdir(&caller, root, "d".as_ref(), 0o777).unwrap();
    assert_eq!((dir.attr.uid, dir.attr.mode), (500, 0o700));
    let link = fs
        .symlink(&caller, root, "l".as_ref(), "to/where".as_ref())
        .unwrap();
    assert_eq!((link.attr.kind, link.attr.uid), (FileKind::Symlink, 500));
    assert_eq!(fs.readlink(link.id).unwrap(), b"to/where");
    let device = Device { major: 1, minor: 3 };
    let null = fs
        .mknod(&caller, root, "null".as_ref(), 0o020_666, device)
        .unwrap();
    assert_eq!((null.attr.kind, null.attr.rdev), (FileKind::Char, device));
    let fifo = fs
        .mknod(&caller, root, "fifo".as_ref(), S_IFIFO | 0o666, none)
        .unwrap();
    assert_eq!((fifo.attr.kind, fifo.attr.uid), (FileKind::Fifo, 500));
    stack.chmod("d", 0o2755).unwrap();
    let other = Caller { gid: 777, ..caller };
    let inner = fs.mkdir(&other, dir.id, "e".as_ref(), 0o777).unwrap();
    assert_eq!((inner.attr.gid, inner.attr.mode), (501, 0o2700));
    stack.remount();
    assert_eq!(stack.attr("null").unwrap().rdev, device);
    assert_eq!(stack.list(""), ["d", "f", "fifo", "l", "null"]);
}

#[test]
fn capabilities_are_kept_under_another_name() {
    let mut stack = stack();
    put(&stack.lower(0, "f"), "");
    let stored = "user.containers.override_security.capability";
    set_xattr(&stack.lower(0, "f"), stored, "caps");
    stack.open();
    let fs = stack.fs();
    let id = stack.hold("f");
    let name = "security.capability".as_ref();
    assert_eq!(fs.getxattr(id, name).unwrap(), b"caps");
    assert_eq!(fs.listxattr(&me(), id).unwrap(), b"security.capability\0");
    stack.chmod("f", 0o700).unwrap();
    assert_eq!(
        get_xattr(&stack.upper("f"), stored).as_deref(),
        Some("caps")
    );
    fs.setxattr(&me(), id, name, b"other", XattrFlags::empty())
        .unwrap();
    assert_eq!(fs.getxattr(id, name).unwrap(), b"other");
    let record = RECORD.as_ref();
    let set = fs.setxattr(&me(), id, record, b"0:0:4755", XattrFlags::empty());
    assert_eq!(set, Err(Errno::PERM));
}

#[test]
fn ids_that_cannot_be_shown_are_roots_and_stay_on_disk() {
    let mut stack = stack();
    put(&stack.lower(0, "f"), "");
    set_xattr(&stack.lower(0, "f"), RECORD, "33:8:640");
    stack.open();
    let mut config = stack.config();
    config.upper = None;
    config.shown_ids.uids = Some(vec![0..1, 2..3]);
    config.shown_ids.gids = Some(vec![0..1, 8..9]);
    let fs = plyfs_fs::Overlay::open(&config).unwrap();
    let attr = fs.lookup(fs.root(), "f".as_ref()).unwrap().attr;
    assert_eq!((attr.uid, attr.gid), (0, 8));
    stack.chmod("f", 0o600).unwrap();
    assert_eq!(record_of(&stack.upper("f")).as_deref(), Some("33:8:600"));
}

#[test]
fn a_layer_without_records_shows_itself() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "text");
    set_xattr(&stack.lower(0, "f"), RECORD, "33:34:4755");
    stack.open();
    assert_eq!(stack.attr("f").unwrap().uid, me().uid);
    let id = stack.hold("f");
    let value = stack.fs().getxattr(id, RECORD.as_ref());
    assert_eq!(value, Err(Errno::NODATA));
}

const EVERY_MODE: [OverrideStatMode; 5] = [
    OverrideStatMode::None,
    OverrideStatMode::Devices,
    OverrideStatMode::All,
    OverrideStatMode::Older,
    OverrideStatMode::Privileged,
];

/// Under `OverrideStatMode::None`, `Older` and `Privileged` users wrote those of the other modes, and the next
/// mount believed them.
#[test]
fn records_are_refused_to_users_in_every_mode() {
    let names = [
        RECORD,
        "user.containers.override_security.capability",
        "user.fuseoverlayfs.override_stat",
        "user.fuseoverlayfs.opaque",
        "security.fuseoverlayfs.override_stat",
    ];
    for records in EVERY_MODE {
        let mut stack = Stack::new(1);
        stack.records = records;
        stack.lower_records = records;
        put(&stack.lower(0, "d/f"), "");
        // There already, of another mode: not a record here.
        let there = "user.fuseoverlayfs.note";
        set_xattr(&stack.lower(0, "d/f"), there, "x");
        stack.open();
        let fs = stack.fs();
        for path in ["", "d", "d/f"] {
            let id = stack.at(path, |entry| entry.id).unwrap();
            let id = if path.is_empty() {
                id
            } else {
                stack.hold(path)
            };
            for name in names.into_iter().chain([there]) {
                let name = name.as_ref();
                let set = fs.setxattr(&me(), id, name, b"0:0:4755", XattrFlags::empty());
                assert_eq!(set, Err(Errno::PERM), "{records:?} {path} {name:?}");
                let removed = fs.removexattr(&me(), id, name);
                assert_eq!(removed, Err(Errno::PERM), "{records:?} {path} {name:?}");
                let got = fs.getxattr(id, name);
                assert_eq!(got, Err(Errno::NODATA), "{records:?} {path} {name:?}");
            }
            assert_eq!(fs.listxattr(&me(), id).unwrap(), b"", "{records:?} {path}");
        }
        // Nothing was copied up for what was refused.
        assert!(!stack.upper("d").exists());
    }
}

/// A lower layer whose records are not believed, below an upper layer whose records are.
#[test]
fn copy_up_makes_no_record_of_an_attribute() {
    for records in EVERY_MODE {
        for attribute in [RECORD, "user.fuseoverlayfs.override_stat"] {
            let mut stack = Stack::new(1);
            stack.records = records;
            for (name, record) in [("f", "33:34:4755"), ("null", "0:0:666:char-1-3")] {
                put(&stack.lower(0, name), "");
                set_xattr(&stack.lower(0, name), attribute, record);
            }
            stack.open();
            for name in ["f", "null"] {
                let before = stack.attr(name).unwrap();
                if let Err(error) = stack.rename(name, &format!("{name}2")) {
                    assert!(
                        records == OverrideStatMode::Privileged && !is_root(),
                        "{error}"
                    );
                    continue;
                }
                stack.remount();
                let after = stack.attr(&format!("{name}2")).unwrap();
                let facts = |attr: plyfs_fs::types::Attr| {
                    (attr.kind, attr.mode, attr.uid, attr.gid, attr.rdev)
                };
                assert_eq!(facts(before), facts(after), "{records:?} {attribute}");
            }
        }
    }
}

/// A file without content was given the owner and the set-id bits that its record named.
#[test]
fn only_devices_are_believed_where_only_devices_are_records() {
    let mut stack = Stack::new(1);
    stack.records = OverrideStatMode::Devices;
    stack.lower_records = OverrideStatMode::Devices;
    for (name, record) in [
        ("a", "33:34:4755"),
        ("b", "33:34:4755:file"),
        ("c", "0:0:755:pipe"),
    ] {
        put(&stack.lower(0, name), "");
        set_xattr(&stack.lower(0, name), RECORD, record);
        put(&stack.upper(&format!("upper-{name}")), "");
        set_xattr(&stack.upper(&format!("upper-{name}")), RECORD, record);
    }
    stack.open();
    for name in ["a", "b", "c", "upper-a", "upper-b", "upper-c"] {
        let attr = stack.attr(name).unwrap();
        assert_eq!(
            (attr.kind, attr.uid),
            (FileKind::Regular, me().uid),
            "{name}"
        );
        assert_eq!(attr.mode & 0o7000, 0, "{name}");
    }
}

/// A stack whose upper layer the kernel's overlay has served, with attributes that its users wrote, and
/// a link out of it.
fn served_by_kernel() -> Stack {
    let stack = Stack::new(1);
    let outside = stack.lower(0, "outside");
    put(&outside, "");
    set_xattr(&outside, RECORD, "33:34:4755");
    put(&stack.upper("d/e/null"), "");
    set_xattr(&stack.upper("d/e/null"), RECORD, "0:0:666:char-1-3");
    set_xattr(&stack.upper("d/e/null"), "user.note", "kept");
    set_xattr(&stack.upper("d/e"), "user.fuseoverlayfs.opaque", "y");
    set_xattr(&stack.upper(""), RECORD, "0:0:755");
    std::os::unix::fs::symlink(&outside, stack.upper("d/link")).unwrap();
    let config = stack.config().upper.unwrap();
    let namespace = match own_record("").starts_with("trusted") {
        true => plyfs_format::names::Namespace::Trusted,
        false => plyfs_format::names::Namespace::User,
    };
    plyfs_fs::mark_served_by_kernel(&config.path, &config.work, namespace).unwrap();
    assert!(plyfs_fs::was_served_by_kernel(&config.path, None));
    assert!(plyfs_fs::was_served_by_kernel(
        &config.path,
        Some(&config.work)
    ));
    stack
}

#[test]
fn what_users_of_the_kernels_overlay_wrote_is_removed_before_records_are_believed() {
    let mut stack = served_by_kernel();
    stack.records = OverrideStatMode::Devices;
    let mut config = stack.config();
    config.marked_upper = plyfs_fs::MarkedUpper::Clean;
    // Nothing is believed, so nothing has to be removed.
    let mut unbelieving = config.clone();
    unbelieving.upper.as_mut().unwrap().records = OverrideStatMode::Untrusted;
    drop(plyfs_fs::Overlay::open(&unbelieving).unwrap());
    assert!(record_of(&stack.upper("d/e/null")).is_some());
    drop(plyfs_fs::Overlay::open(&config).unwrap());
    for path in ["", "d/e", "d/e/null"] {
        assert_eq!(record_of(&stack.upper(path)), None, "{path}");
    }
    assert_eq!(
        get_xattr(&stack.upper("d/e"), "user.fuseoverlayfs.opaque"),
        None
    );
    assert_eq!(
        get_xattr(&stack.upper("d/e/null"), "user.note").as_deref(),
        Some("kept")
    );
    assert!(
        record_of(&stack.lower(0, "outside")).is_some(),
        "a link was followed"
    );
    let upper = config.upper.as_ref().unwrap();
    assert!(!plyfs_fs::was_served_by_kernel(
        &upper.path,
        Some(&upper.work)
    ));
    // From here on they are of plyfs again.
    set_xattr(&stack.upper("d/e/null"), RECORD, "0:0:666:char-1-3");
    stack.open();
    assert_eq!(stack.attr("d/e/null").unwrap().kind, FileKind::Char);
}

#[test]
fn an_upper_directory_that_a_user_named_is_refused_with_what_the_kernels_users_wrote() {
    let mut stack = served_by_kernel();
    stack.records = OverrideStatMode::All;
    let error = plyfs_fs::Overlay::open(&stack.config()).unwrap_err();
    assert_eq!(error.errno(), Errno::PERM);
    let said = error.to_string();
    assert!(
        said.contains(RECORD) && said.contains("user.overlay.plyfs.kernel"),
        "{said}"
    );
    // Without any it is not.
    for path in ["", "d/e/null"] {
        rustix::fs::removexattr(stack.upper(path), RECORD).unwrap();
    }
    rustix::fs::removexattr(stack.upper("d/e"), "user.fuseoverlayfs.opaque").unwrap();
    stack.open();
    let upper = stack.config().upper.unwrap();
    assert!(!plyfs_fs::was_served_by_kernel(
        &upper.path,
        Some(&upper.work)
    ));
}

/// Where it is looked at without its lock, as `plyfs diff` does.
#[test]
fn untrusted_records_are_not_believed() {
    let mut stack = Stack::new(1);
    stack.lower_records = OverrideStatMode::Untrusted;
    put(&stack.lower(0, "null"), "");
    set_xattr(&stack.lower(0, "null"), RECORD, "0:0:666:char-1-3");
    stack.open();
    assert_eq!(stack.attr("null").unwrap().kind, FileKind::Regular);
}

/// A user namespace with many ids has real owners, but cannot make devices.
#[test]
fn devices_alone_can_be_records() {
    let mut stack = Stack::new(1);
    stack.records = OverrideStatMode::Devices;
    stack.lower_records = OverrideStatMode::Devices;
    put(&stack.lower(0, "null"), "");
    set_xattr(&stack.lower(0, "null"), RECORD, "0:0:666:char-1-3");
    put(&stack.lower(0, "f"), "text");
    set_xattr(&stack.lower(0, "f"), RECORD, "33:34:4755");
    set_xattr(&stack.lower(0, "f"), "user.note", "kept");
    stack.open();
    let device = Device { major: 1, minor: 3 };
    for name in ["null", "renamed"] {
        let null = stack.attr(name).unwrap();
        assert_eq!((null.kind, null.rdev), (FileKind::Char, device));
        assert_eq!((null.uid, null.mode), (0, 0o666));
        if name == "null" {
            stack.rename("null", "renamed").unwrap();
        }
    }
    assert_eq!(stack.chmod("renamed", 0o600).unwrap().mode, 0o600);
    assert_eq!(
        record_of(&stack.upper("renamed")).as_deref(),
        Some("0:0:600:char-1-3")
    );
    // A file with content is what it is, and its attributes are under their own names.
    assert_eq!(stack.attr("f").unwrap().uid, me().uid);
    let id = stack.hold("f");
    assert_eq!(stack.fs().listxattr(&me(), id).unwrap(), b"user.note\0");
    assert_eq!(stack.chmod("f", 0o640).unwrap().mode, 0o640);
    assert_eq!(record_of(&stack.upper("f")), None);
}

/// The user who wrote the layer owns its files on disk; without a record, root is meant.
#[test]
fn a_file_without_a_record_is_roots() {
    let mut stack = stack();
    put(&stack.lower(0, "f"), "text");
    stack.open();
    let file = stack.attr("f").unwrap();
    assert_eq!((file.uid, file.gid), (0, 0));
    let stranger = Caller {
        uid: 1000,
        gid: 1000,
        ..me()
    };
    let fs = stack.fs();
    let mode = S_IFREG | 0o644;
    let made = fs.mknod(&stranger, fs.root(), "g".as_ref(), mode, Device::default());
    assert_eq!(made.unwrap().attr.uid, 1000);
    assert_eq!(
        record_of(&stack.upper("g")).as_deref(),
        Some("1000:1000:644")
    );
    assert_eq!(stack.chmod("f", 0o600).unwrap().uid, 0);
    assert_eq!(record_of(&stack.upper("f")), None);
}

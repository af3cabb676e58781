//! Changes: what they show, and what they leave in the upper directory.

use std::ffi::OsStr;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::*;
use plyfs_fs::types::{Caller, Device, FileKind, SetAttr, SetTime, Timestamp, WriteMode};
use plyfs_fs::{Change, Errno, IndexUse};
use rustix::fs::{IFlags, RenameFlags, XattrFlags};

/// The names in a directory whose attributes change.
fn with_changed_attributes(dir: &Path, body: impl FnOnce()) -> Vec<String> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    let inotify = inotify::init(CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&inotify, dir, WatchFlags::ATTRIB).unwrap();
    body();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&inotify, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        names.extend(
            event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names
}

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

/// Fault 1: a descriptor opened before a copy-up sees what is written after it.
#[test]
fn a_file_opened_before_copy_up_sees_what_is_written_after() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "old text");
    stack.open();
    let fs = stack.fs();
    let reader = stack.hold("f");
    assert_eq!(read_node(fs, reader), b"old text");
    let writer = stack.hold("f");
    assert_eq!(reader, writer);
    fs.write(writer, 0, b"new", WriteMode::default()).unwrap();
    assert_eq!(read_node(fs, reader), b"new text");
    fs.write(writer, 4, b"data", WriteMode::default()).unwrap();
    fs.fsync(writer, false).unwrap();
    assert_eq!(read_node(fs, reader), b"new data");
    assert_eq!(fs::read(stack.upper("f")).unwrap(), b"new data");
}

/// The kernel may send what it gathered in another order, and a descriptor that can only append would write at the
/// end of the file whatever the offset.
#[test]
fn gathered_data_is_not_appended_out_of_order() {
    let test = "gathered_data_is_not_appended_out_of_order";
    let mut stack = Stack::new(1);
    put(&stack.upper("f"), "one");
    let path = stack.upper("f");
    let set = |flags| fs::File::open(&path).map(|file| rustix::fs::ioctl_setflags(file, flags));
    if let Err(errno) = set(IFlags::APPEND).unwrap() {
        return skip(test, &format!("no append-only files here: {errno}"));
    }
    stack.open();
    let id = stack.hold("f");
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    let write = |offset, data: &[u8]| stack.fs().write(id, offset, data, gathered);
    let results = [write(6, b"three"), write(0, b"onetwo"), write(6, b"three")];
    let content = fs::read_to_string(&path).unwrap();
    set(IFlags::empty()).unwrap().unwrap();
    assert_eq!(results, [Err(Errno::IO), Ok(6), Ok(5)]);
    assert_eq!(content, "onetwothree");
}

/// Fault 3: an opened and then unlinked file keeps working.
#[test]
fn an_unlinked_file_keeps_working() {
    for origin in ["lower", "upper", "copied up"] {
        let mut stack = Stack::new(1);
        if origin != "upper" {
            put(&stack.lower(0, "f"), "0123456789");
        }
        stack.open();
        match origin {
            "upper" => stack.create("f", "0123456789").unwrap(),
            "copied up" => drop(stack.chmod("f", 0o640).unwrap()),
            _ => {}
        }
        let fs = stack.fs();
        let open = stack.hold("f");
        stack.unlink("f").unwrap();
        assert!(!stack.exists("f"), "{origin}");
        assert_eq!(fs.getattr(open).unwrap().nlink, 0, "{origin}");
        assert_eq!(read_node(fs, open), b"0123456789", "{origin}");
        fs.write(open, 2, b"xx", WriteMode::default()).unwrap();
        let set = SetAttr {
            size: Some(5),
            mode: Some(0o600),
            mtime: Some(SetTime::At(Timestamp { secs: 5, nanos: 0 })),
            ..SetAttr::default()
        };
        let attr = fs.setattr(&me(), open, &set).unwrap();
        assert_eq!((attr.size, attr.mode, attr.mtime.secs), (5, 0o600, 5));
        fs.setxattr(&me(), open, "user.x".as_ref(), b"y", XattrFlags::empty())
            .unwrap();
        assert_eq!(fs.getxattr(open, "user.x".as_ref()).unwrap(), b"y");
        assert_eq!(read_node(fs, open), b"01xx4", "{origin}");
        assert_eq!(fs.getattr(open).unwrap().ino, attr.ino);
        assert_eq!(attr.nlink, 0, "{origin}");
        // A new file of the same name is another file.
        stack.create("f", "new").unwrap();
        assert_eq!(read_node(fs, open), b"01xx4");
        assert_eq!(stack.read("f"), "new");
        fs.forget(open, 1);
        assert_eq!(fs.known_nodes(), 1, "{origin}");
        assert_eq!(
            fs::read_dir(stack.work())
                .unwrap()
                .filter(|entry| { !is_whiteout(&entry.as_ref().unwrap().path()) })
                .count(),
            0
        );
    }
}

/// Fault 4: a stale file in the work directory never shows up in a copy.
#[test]
fn leftovers_in_the_work_directory_do_not_show() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "short");
    for i in 0..20 {
        put(
            &stack.work().join(format!("#{i:x}")),
            &"longer than short".repeat(100),
        );
    }
    stack.open();
    stack.chmod("f", 0o600).unwrap();
    assert_eq!(stack.read("f"), "short");
    assert_eq!(fs::read_dir(stack.work()).unwrap().count(), 0);
}

/// Fault 5: a removed and remade directory is empty, also after a remount.
#[test]
fn a_directory_made_again_is_empty() {
    let mut stack = Stack::new(2);
    put(&stack.lower(0, "d/a/x"), "top");
    put(&stack.lower(1, "d/b"), "bottom");
    stack.open();
    stack.create("d/c", "upper").unwrap();
    stack.remove_all("d");
    assert!(!stack.exists("d"));
    assert!(is_whiteout(&stack.upper("d")));
    stack.mkdir("d").unwrap();
    assert_eq!(stack.list("d"), Vec::<String>::new());
    assert!(is_opaque(&stack.upper("d")));
    stack.create("d/b", "again").unwrap();
    stack.remount();
    assert_eq!(stack.list("d"), ["b"]);
    assert_eq!(stack.read("d/b"), "again");
    stack.remove_all("d");
    stack.remount();
    assert!(!stack.exists("d"));
    stack.create("d", "a file now").unwrap();
    stack.remount();
    assert_eq!(stack.read("d"), "a file now");
}

#[test]
fn removing_hides_what_a_lower_layer_has_and_only_that() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/lower"), "");
    put(&stack.lower(0, "d/both"), "");
    stack.open();
    stack.create("d/upper", "").unwrap();
    stack.write("d/both", 0, "x").unwrap();
    for name in ["d/lower", "d/both", "d/upper"] {
        stack.unlink(name).unwrap();
        assert_eq!(stack.unlink(name), Err(Errno::NOENT));
    }
    assert!(is_whiteout(&stack.upper("d/lower")));
    assert!(is_whiteout(&stack.upper("d/both")));
    assert!(fs::symlink_metadata(stack.upper("d/upper")).is_err());
    assert_eq!(stack.list("d"), Vec::<String>::new());
    stack.remount();
    assert_eq!(stack.list("d"), Vec::<String>::new());
    stack.create("d/lower", "new").unwrap();
    stack.remount();
    assert_eq!(stack.read("d/lower"), "new");
}

#[test]
fn only_an_empty_directory_is_removed() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/f"), "");
    stack.open();
    assert_eq!(stack.rmdir("d"), Err(Errno::NOTEMPTY));
    assert_eq!(stack.rmdir("d/f"), Err(Errno::NOTDIR));
    assert_eq!(stack.unlink("d"), Err(Errno::ISDIR));
    stack.unlink("d/f").unwrap();
    let open = stack.hold("d");
    stack.rmdir("d").unwrap();
    assert!(!stack.exists("d"));
    // The directory a process is still in shows nothing and takes nothing.
    let fs = stack.fs();
    assert!(fs.getattr(open).unwrap().kind.is_dir());
    assert!(list_node(fs, open).is_empty());
    assert_eq!(fs.lookup(open, "f".as_ref()), Err(Errno::NOENT));
    assert_eq!(
        fs.mkdir(&me(), open, "x".as_ref(), 0o755),
        Err(Errno::NOENT)
    );
    assert_eq!(stack.rmdir("d"), Err(Errno::NOENT));
}

#[test]
fn files_are_renamed_over_and_back() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a"), "a");
    put(&stack.lower(0, "d/b"), "b");
    stack.open();
    let a = stack.attr("a").unwrap().ino;
    let (open_a, open_b) = (stack.hold("a"), stack.hold("d/b"));
    stack.rename("a", "d/b").unwrap();
    assert!(!stack.exists("a"));
    assert!(is_whiteout(&stack.upper("a")));
    assert_eq!(stack.read("d/b"), "a");
    assert_eq!(stack.attr("d/b").unwrap().ino, a);
    assert_eq!(read_node(stack.fs(), open_a), b"a");
    assert_eq!(read_node(stack.fs(), open_b), b"b");
    stack
        .fs()
        .write(open_a, 0, b"A", WriteMode::default())
        .unwrap();
    stack.remount();
    assert_eq!(stack.list(""), ["d"]);
    assert_eq!(stack.read("d/b"), "A");
    stack.rename("d/b", "a").unwrap();
    assert_eq!(stack.list("d"), Vec::<String>::new());
    stack.remount();
    assert_eq!(stack.read("a"), "A");
    assert!(!stack.exists("d/b"));
}

#[test]
fn directories_made_in_the_upper_layer_are_renamed() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "old/below"), "lower");
    put(&stack.lower(0, "gone/below"), "lower");
    stack.open();
    stack.mkdir("new").unwrap();
    stack.create("new/f", "f").unwrap();
    stack.remove_all("gone");
    // Over a whiteout.
    stack.rename("new", "gone").unwrap();
    assert_eq!(stack.list("gone"), ["f"]);
    assert!(!stack.exists("new"));
    assert!(fs::symlink_metadata(stack.upper("new")).is_err());
    stack.remount();
    assert_eq!(stack.list("gone"), ["f"]);
    // Over an empty directory that a lower layer has, and whose upper holds a whiteout.
    stack.unlink("old/below").unwrap();
    let open = stack.hold("old");
    stack.rename("gone", "old").unwrap();
    assert_eq!(stack.list("old"), ["f"]);
    assert!(list_node(stack.fs(), open).is_empty());
    assert!(is_whiteout(&stack.upper("gone")));
    assert!(is_opaque(&stack.upper("old")));
    stack.remount();
    assert_eq!(stack.list(""), ["old"]);
    assert_eq!(stack.list("old"), ["f"]);
    // What cannot be.
    stack.mkdir("x").unwrap();
    assert_eq!(stack.rename("x", "old"), Err(Errno::NOTEMPTY));
    assert_eq!(stack.rename("x", "old/f"), Err(Errno::NOTDIR));
    assert_eq!(stack.rename("old/f", "x"), Err(Errno::ISDIR));
    stack.mkdir("x/y").unwrap();
    assert_eq!(stack.rename("x", "x/y/z"), Err(Errno::INVAL));
    assert_eq!(stack.rename("x/y", "x"), Err(Errno::NOTEMPTY));
    assert_eq!(stack.rename("missing", "x"), Err(Errno::NOENT));
}

#[test]
fn names_are_exchanged() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a"), "a");
    put(&stack.lower(0, "d/below"), "lower");
    stack.open();
    stack.mkdir("b").unwrap();
    stack.create("b/f", "f").unwrap();
    stack.rename_with("a", "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(stack.read("b"), "a");
    assert_eq!(stack.list("a"), ["f"]);
    stack.remount();
    assert_eq!(stack.read("b"), "a");
    assert_eq!(stack.list("a"), ["f"]);
    let noreplace = RenameFlags::NOREPLACE;
    assert_eq!(stack.rename_with("b", "a", noreplace), Err(Errno::EXIST));
    let missing = stack.rename_with("b", "c", RenameFlags::EXCHANGE);
    assert_eq!(missing, Err(Errno::NOENT));
    let into_itself = stack.rename_with("a", "a/f", RenameFlags::EXCHANGE);
    assert_eq!(into_itself, Err(Errno::INVAL));
    let whiteout = stack.rename_with("b", "c", RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(Errno::INVAL));
}

#[test]
fn hard_links_are_one_file() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a"), "text");
    stack.open();
    stack.mkdir("d").unwrap();
    assert!(stack.list("d").is_empty());
    stack.link("a", "d/b").unwrap();
    assert_eq!(stack.list("d"), ["b"]);
    stack.write("d/b", 0, "T").unwrap();
    assert_eq!(stack.read("a"), "Text");
    let (a, b) = (stack.attr("a").unwrap(), stack.attr("d/b").unwrap());
    assert_eq!((a.ino, a.nlink), (b.ino, 2));
    // The name the file is known by goes; the other still leads to it.
    let open = stack.hold("a");
    stack.unlink("a").unwrap();
    assert_eq!(stack.read("d/b"), "Text");
    stack
        .fs()
        .write(open, 0, b"t", WriteMode::default())
        .unwrap();
    assert_eq!(stack.read("d/b"), "text");
    assert_eq!(stack.attr("d/b").unwrap().nlink, 1);
    stack.link("d/b", "a").unwrap();
    stack.rename("a", "d/b").unwrap();
    assert_eq!(stack.attr("a").unwrap().nlink, 2);
    stack.remount();
    assert_eq!(stack.read("a"), "text");
    assert_eq!(stack.link("d", "e"), Err(Errno::PERM));
    assert_eq!(stack.link("a", "d/b"), Err(Errno::EXIST));
}

#[test]
fn an_unlinked_file_without_names_cannot_be_linked() {
    let mut stack = Stack::new(1);
    stack.open();
    stack.create("f", "x").unwrap();
    let open = stack.hold("f");
    stack.unlink("f").unwrap();
    let fs = stack.fs();
    assert_eq!(fs.link(open, fs.root(), "g".as_ref()), Err(Errno::NOENT));
}

/// Without an index, copy-up breaks hard links of a lower file, as in the kernel's overlay. The
/// names must then be different files to everybody, at once and after a remount.
#[test]
fn hard_links_of_a_lower_file_break_cleanly() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a"), "text");
    fs::hard_link(stack.lower(0, "a"), stack.lower(0, "b")).unwrap();
    stack.index = IndexUse::Off;
    stack.open();
    let (a, b) = (stack.hold("a"), stack.hold("b"));
    assert_eq!(stack.attr("a").unwrap().ino, stack.attr("b").unwrap().ino);
    stack.write("a", 0, "T").unwrap();
    assert_eq!(read_node(stack.fs(), a), b"Text");
    assert_eq!(read_node(stack.fs(), b), b"text");
    for _ in 0..2 {
        assert_eq!(stack.read("a"), "Text");
        assert_eq!(stack.read("b"), "text");
        let (a, b) = (stack.attr("a").unwrap(), stack.attr("b").unwrap());
        assert_ne!(a.ino, b.ino);
        stack.remount();
    }
}

/// Fault 7: the caller's umask and the directory's set-gid bit are honoured.
#[test]
fn mask_and_set_gid_are_honoured() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "gone"), "");
    stack.open();
    let fs = stack.fs();
    let caller = Caller {
        umask: 0o027,
        ..me()
    };
    let make = |name: &str| {
        let (root, name) = (fs.root(), name.as_ref());
        fs.mknod(&caller, root, name, S_IFREG | 0o666, Device::default())
    };
    assert_eq!(make("f").unwrap().attr.mode, 0o640);
    stack.unlink("gone").unwrap();
    assert_eq!(make("gone").unwrap().attr.mode, 0o640);
    let root = fs.root();
    let dir = fs.mkdir(&caller, root, "d".as_ref(), 0o777).unwrap();
    assert_eq!(dir.attr.mode, 0o750);
    let link = fs
        .symlink(&caller, root, "l".as_ref(), "f".as_ref())
        .unwrap();
    assert_eq!(link.attr.mode, 0o777);
    stack.chmod("d", 0o2755).unwrap();
    let inner = fs.mkdir(&caller, dir.id, "e".as_ref(), 0o777).unwrap();
    assert_eq!(inner.attr.mode, 0o2750);
    assert_eq!(inner.attr.gid, dir.attr.gid);
}

/// Fault 7: so are default ACLs.
#[test]
fn default_acls_are_honoured() {
    // user::rwx, user:12345:rwx, group::r-x, mask::rwx, other::---
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 12345),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/gone"), "");
    stack.open();
    let fs = stack.fs();
    let dir = stack.hold("d");
    let name = "system.posix_acl_default".as_ref();
    match fs.setxattr(&me(), dir, name, &acl, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => return skip(this_test!(), "no ACLs in /tmp"),
        other => other.unwrap(),
    }
    stack.unlink("d/gone").unwrap();
    for name in ["d/f", "d/gone"] {
        let (_, last) = name.split_once('/').unwrap();
        let mode = S_IFREG | 0o666;
        fs.mknod(&me(), dir, last.as_ref(), mode, Device::default())
            .unwrap();
        // The mask of the caller, 022, does not apply where there is a default ACL.
        assert_eq!(stack.attr(name).unwrap().mode, 0o660, "{name}");
        let id = stack.hold(name);
        assert!(fs.getxattr(id, "system.posix_acl_access".as_ref()).is_ok());
    }
    stack.mkdir("d/sub").unwrap();
    let sub = stack.hold("d/sub");
    assert_eq!(fs.getxattr(sub, name).unwrap(), acl);
}

/// Fault 8: set-uid and set-gid are dropped on write, truncate and chown.
#[test]
fn set_id_bits_are_dropped() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "text");
    stack.open();
    let fs = stack.fs();
    let id = stack.hold("f");
    let set_id = || stack.chmod("f", 0o6755).unwrap();
    assert_eq!(set_id().mode, 0o6755);
    let stranger = Caller {
        uid: 4242,
        gid: 4242,
        ..me()
    };
    let no_privileges = WriteMode {
        unprivileged: Some(stranger),
        ..WriteMode::default()
    };
    fs.write(id, 0, b"x", no_privileges).unwrap();
    assert_eq!(fs.getattr(id).unwrap().mode, 0o755);
    set_id();
    let size = SetAttr {
        size: Some(1),
        ..SetAttr::default()
    };
    assert_eq!(fs.setattr(&stranger, id, &size).unwrap().mode, 0o755);
    set_id();
    let owner = SetAttr {
        uid: Some(me().uid),
        ..SetAttr::default()
    };
    assert_eq!(fs.setattr(&me(), id, &owner).unwrap().mode, 0o755);
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
fn a_very_deep_tree_can_be_used() {
    let mut stack = Stack::new(1);
    stack.open();
    let fs = stack.fs();
    let mut dirs = vec![fs.root()];
    for _ in 0..3000 {
        let parent = *dirs.last().unwrap();
        let entry = fs.mkdir(&me(), parent, "d".as_ref(), 0o755).unwrap();
        dirs.push(entry.id);
    }
    let last = *dirs.last().unwrap();
    assert_eq!(fs.getattr(last).unwrap().kind, FileKind::Directory);
    for id in &dirs[1..] {
        fs.forget(*id, 1);
    }
    assert_eq!(fs.known_nodes(), 1);
    remove_chain(&stack.upper(""), "d");
}

/// Removes directories each of which has but the next one, all of one name, from the top.
///
/// `remove_dir_all` holds a descriptor for each level, and with a limit of 1024 the other tests of this process
/// would be without one.
fn remove_chain(parent: &Path, name: &str) {
    let (top, rest) = (parent.join(name), parent.join("rest"));
    while fs::rename(top.join(name), &rest).is_ok() {
        fs::remove_dir(&top).unwrap();
        fs::rename(&rest, &top).unwrap();
    }
    fs::remove_dir(&top).unwrap();
}

/// A kernel that gathers writes knows when a program wrote, and says so if it matters. The time the
/// data arrives must not show through, or a file would seem to change when no program touches it.
#[test]
fn gathered_writes_leave_the_time_of_change_alone() {
    let mut stack = Stack::new(1);
    stack.gathers = true;
    stack.open();
    stack.create("f", "text").unwrap();
    let old = SetAttr {
        mtime: Some(SetTime::At(Timestamp {
            secs: 1000,
            nanos: 5,
        })),
        ..SetAttr::default()
    };
    let id = stack.hold("f");
    let before = stack.setattr("f", old).unwrap();
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    assert_eq!(stack.attr("f").unwrap().mtime, before.mtime);
    stack.fs().write(id, 0, b"t", WriteMode::default()).unwrap();
    assert!(stack.attr("f").unwrap().mtime > before.mtime);
}

/// Where nothing gathers writes but shared mappings, the kernel keeps no times: data that comes late is a change
/// when it comes, and so is a time that is set to what it is.
#[test]
fn without_a_writeback_cache_times_are_those_on_disk() {
    let mut stack = Stack::new(1);
    stack.open();
    stack.create("f", "text").unwrap();
    let id = stack.hold("f");
    let before = stack.fs().getattr(id).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    let written = stack.fs().getattr(id).unwrap();
    assert!(written.mtime > before.mtime);
    std::thread::sleep(Duration::from_millis(30));
    let set = SetAttr {
        mtime: Some(SetTime::At(written.mtime)),
        ..SetAttr::default()
    };
    let now = stack.fs().setattr(&me(), id, &set).unwrap();
    assert_eq!(now.mtime, written.mtime);
    assert!(now.ctime > written.ctime);
}

/// The kernel's clock is a coarse one, and it says nothing if that has not moved on from the time of last
/// change that a lookup told: here of a file which was written right before the mount.
#[test]
fn gathered_writes_leave_the_time_that_a_lookup_told_alone() {
    let mut stack = Stack::new(1);
    stack.gathers = true;
    put(&stack.lower(0, "f"), "text");
    put(&stack.lower(0, "old"), "text");
    let old = fs::File::options()
        .write(true)
        .open(stack.lower(0, "old"))
        .unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    stack.open();
    let id = stack.hold("f");
    let told = stack.attr("f").unwrap().mtime;
    std::thread::sleep(Duration::from_millis(30));
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    assert_eq!(stack.attr("f").unwrap().mtime, told);
    // What is older than any clock is coarse: the kernel will say when.
    let id = stack.hold("old");
    stack.fs().write(id, 0, b"T", gathered).unwrap();
    assert!(stack.attr("old").unwrap().mtime > told);
}

/// Two renames of the same two files, by different names of theirs.
#[test]
fn exchanges_of_hard_links_do_not_wait_for_each_other() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d1/x"), "");
    put(&stack.lower(0, "d2/x"), "");
    stack.open();
    for name in ["a", "b"] {
        stack.create(&format!("d1/{name}"), name).unwrap();
        stack
            .link(&format!("d1/{name}"), &format!("d2/{name}"))
            .unwrap();
    }
    let stack = &stack;
    std::thread::scope(|scope| {
        for (from, to) in [("d1/a", "d1/b"), ("d2/b", "d2/a")] {
            scope.spawn(move || {
                for _ in 0..5000 {
                    stack.rename_with(from, to, RenameFlags::EXCHANGE).unwrap();
                }
            });
        }
    });
    assert_eq!(stack.list("d1"), ["a", "b", "x"]);
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

/// A kernel that gathers writes sends the time of the last change when a name goes, as it was.
#[test]
fn a_removed_lower_file_is_not_copied_up_for_its_time() {
    let mut stack = Stack::new(1);
    stack.gathers = true;
    put(&stack.lower(0, "f"), "text");
    stack.open();
    let id = stack.hold("f");
    let before = stack.fs().getattr(id).unwrap();
    stack.unlink("f").unwrap();
    let set = SetAttr {
        mtime: Some(SetTime::At(before.mtime)),
        ..SetAttr::default()
    };
    assert_eq!(
        stack.fs().setattr(&me(), id, &set).unwrap().mtime,
        before.mtime
    );
    assert!(
        stack.fs().is_slow_to_change(id, Change::Data),
        "it was copied up"
    );
    assert_eq!(read_node(stack.fs(), id), b"text");
}

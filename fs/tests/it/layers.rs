//! What a stack of layers shows: lookup order, whiteouts, opaque directories, listings.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::support::*;
use plyfs_fs::types::{Caller, Device, FileKind, SetAttr};
use plyfs_fs::{
    Config, Errno, Fill, IdRange, Ids, IndexUse, LowerLayer, MountError, Overlay, OverrideStatMode,
    Owners, UpperLayer, Wants, XattrTrust,
};

#[test]
fn the_topmost_layer_wins_and_directories_are_merged() {
    let mut stack = Stack::new(3);
    put(&stack.lower(0, "d/both"), "top");
    put(&stack.lower(1, "d/both"), "middle");
    put(&stack.lower(1, "d/middle"), "middle");
    put(&stack.lower(2, "d/bottom"), "bottom");
    put(&stack.upper("d/upper"), "upper");
    stack.open();
    assert_eq!(stack.read("d/both"), "top");
    assert_eq!(stack.read("d/middle"), "middle");
    assert_eq!(stack.read("d/bottom"), "bottom");
    assert_eq!(stack.list("d"), ["both", "bottom", "middle", "upper"]);
    assert_eq!(stack.attr("d").unwrap().nlink, 1);
    assert_eq!(stack.attr("nothing"), Err(Errno::NOENT));
}

/// Lookups and changes read directories too, but no program asked for that.
#[test]
fn the_time_of_last_access_of_an_upper_directory_is_that_of_its_listing() {
    let name = this_test!();
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "merged/lower"), "lower");
    put(&stack.lower(0, "below/lower"), "lower");
    let long_ago = |dir: &Path| {
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_accessed(then);
        fs::File::open(dir).unwrap().set_times(times).unwrap();
    };
    let is_old = |dir: &Path| fs::metadata(dir).unwrap().atime() == 1_000_000_000;
    let upper = ["merged", "upper"].map(|dir| stack.upper(dir));
    for dir in &upper {
        put(&dir.join("file"), "upper");
        long_ago(dir);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
        if is_old(dir) {
            return skip(name, "the file system below is mounted with noatime");
        }
        long_ago(dir);
    }
    // Every time it is read is a time of access.
    let below = stack.lower(0, "below");
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 60 * 60);
    let times = fs::FileTimes::new().set_modified(tomorrow);
    fs::File::open(&below).unwrap().set_times(times).unwrap();
    stack.open();
    for (dir, path) in upper.iter().zip(["merged", "upper"]) {
        for missing in 0..50 {
            assert!(!stack.exists(&format!("{path}/missing{missing}")));
        }
        assert!(is_old(dir), "{path}: no program has listed it");
        stack.list(path);
        assert!(!is_old(dir), "{path} was listed");
        long_ago(dir);
        stack.list(path);
        assert!(!is_old(dir), "{path} was listed again");
    }
    let accessed = || fs::metadata(&below).unwrap().accessed().unwrap();
    let before = accessed();
    std::thread::sleep(std::time::Duration::from_millis(20));
    stack.list("below");
    assert_eq!(before, accessed(), "a lower directory is left alone");
}

#[test]
fn a_whiteout_hides_the_layers_below_it() {
    let mut stack = Stack::new(3);
    put(&stack.lower(2, "d/f"), "bottom");
    put(&stack.lower(2, "d/kept"), "bottom");
    whiteout(&stack.lower(1, "d/f"));
    put(&stack.lower(0, "d/other"), "top");
    stack.open();
    assert!(!stack.exists("d/f"));
    assert_eq!(stack.list("d"), ["kept", "other"]);
}

/// Fault 6: a whiteout in a middle layer hides lower names even where the upper has that directory.
#[test]
fn a_whiteout_in_a_middle_layer_hides_below_an_upper_directory() {
    let mut stack = Stack::new(2);
    put(&stack.lower(1, "d/old"), "bottom");
    whiteout(&stack.lower(0, "d"));
    put(&stack.upper("d/new"), "upper");
    stack.open();
    assert_eq!(stack.list("d"), ["new"]);
    assert!(!stack.exists("d/old"));
}

#[test]
fn an_opaque_directory_ends_the_merge() {
    for layer in [0, 1] {
        let mut stack = Stack::new(3);
        put(&stack.lower(2, "d/below"), "bottom");
        put(&stack.lower(layer, "d/in"), "it");
        make_opaque(&stack.lower(layer, "d"));
        put(&stack.upper("d/above"), "upper");
        stack.open();
        assert_eq!(stack.list("d"), ["above", "in"], "layer {layer}");
        assert!(!stack.exists("d/below"));
    }
}

#[test]
fn opaque_markers_of_every_mounter_are_read_where_they_count() {
    for name in ["user.overlay.opaque", "user.fuseoverlayfs.opaque"] {
        let mut stack = Stack::new(2);
        stack.lower_marks = XattrTrust::Any;
        put(&stack.lower(1, "d/below"), "bottom");
        put(&stack.lower(0, "d/in"), "it");
        set_xattr(&stack.lower(0, "d"), name, "y");
        stack.open();
        assert_eq!(stack.list("d"), ["in"], "{name}");
    }
    let mut stack = Stack::new(2);
    put(&stack.lower(1, "d/below"), "bottom");
    put(&stack.lower(0, "d/in"), "it");
    // "x" promises xattr whiteouts inside; it hides nothing by itself.
    set_xattr(&stack.lower(0, "d"), &own_record("opaque"), "x");
    put(&stack.lower(1, "d/hidden"), "bottom");
    put(&stack.lower(0, "d/hidden"), "");
    set_xattr(&stack.lower(0, "d/hidden"), &own_record("whiteout"), "");
    stack.open();
    assert_eq!(stack.list("d"), ["below", "in"]);
    assert!(!stack.exists("d/hidden"));
    stack.create("d/hidden", "new").unwrap();
    stack.unlink("d/hidden").unwrap();
    stack.remount();
    assert_eq!(stack.list("d"), ["below", "in"]);
}

#[test]
fn a_file_between_directories_ends_the_merge() {
    let mut stack = Stack::new(3);
    put(&stack.lower(2, "d/below"), "bottom");
    put(&stack.lower(1, "d"), "a file");
    put(&stack.lower(0, "d/in"), "top");
    stack.open();
    assert_eq!(stack.list("d"), ["in"]);
}

/// Fault 14: names that are not UTF-8, names of 255 bytes, `.wh.` names beside device whiteouts.
#[test]
fn strange_names_are_names() {
    use std::os::unix::ffi::OsStrExt;
    let mut stack = Stack::new(1);
    let longest = "n".repeat(255);
    put(&stack.lower(0, &longest), "long");
    put(&stack.lower(0, ".wh.x"), "plain");
    put(&stack.lower(0, "x"), "seen");
    let raw = std::ffi::OsStr::from_bytes(b"\xff\xfe\n");
    std::fs::write(stack.lower(0, "").join(raw), "raw").unwrap();
    stack.open();
    let fs = stack.fs();
    let entry = fs.lookup(fs.root(), raw).unwrap();
    assert_eq!(read_node(fs, entry.id), b"raw");
    assert_eq!(stack.read(&longest), "long");
    assert_eq!(stack.read(".wh.x"), "plain");
    assert_eq!(stack.read("x"), "seen");
    assert_eq!(stack.attr(&"n".repeat(256)), Err(Errno::NAMETOOLONG));
    assert_eq!(stack.list("").len(), 4);
}

#[test]
fn listings_agree_with_stat() {
    let mut stack = Stack::new(2);
    put(&stack.lower(1, "d/f"), "");
    put(&stack.lower(1, "d/sub/x"), "");
    put(&stack.lower(0, "d/sub/y"), "");
    put(&stack.lower(0, "d/copied"), "before");
    put(&stack.upper("d/sub/z"), "");
    std::os::unix::fs::symlink("f", stack.lower(0, "d/link")).unwrap();
    stack.open();
    stack.chmod("d/copied", 0o600).unwrap();
    let fs = stack.fs();
    let dir = stack.hold("d");
    for round in 0..2 {
        let mut entries = Vec::new();
        fs.readdir(dir, 0, |entry| {
            entries.push(entry.clone());
            Fill::More
        })
        .unwrap();
        assert_eq!(entries.len(), 6, "round {round}");
        for entry in entries {
            let name = entry.name.to_str().unwrap();
            let attr = match name {
                "." => stack.attr("d").unwrap(),
                ".." => stack.attr("").unwrap(),
                name => stack.attr(&format!("d/{name}")).unwrap(),
            };
            assert_eq!((entry.ino, entry.kind), (attr.ino, attr.kind), "{name}");
        }
    }
}

#[test]
fn a_listing_continues_where_a_full_buffer_ended() {
    let mut stack = Stack::new(1);
    for i in 0..300 {
        put(&stack.lower(0, &format!("f{i}")), "");
    }
    stack.open();
    let fs = stack.fs();
    let (mut cookie, mut seen) = (0, Vec::new());
    loop {
        let mut room = 7;
        let before = seen.len();
        fs.readdir_plus(fs.root(), cookie, Wants::All, |entry, found| {
            if room == 0 {
                return Fill::Full;
            }
            room -= 1;
            cookie = entry.cookie;
            let name = entry.name.to_str().unwrap().to_owned();
            if name != "." && name != ".." {
                seen.push((name, found.unwrap().id));
            }
            Fill::More
        })
        .unwrap();
        if room == 7 {
            break;
        }
        assert!(seen.len() > before || cookie <= 2);
    }
    assert_eq!(seen.len(), 300);
    assert_eq!(fs.known_nodes(), 301);
    for (_, id) in seen {
        fs.forget(id, 1);
    }
    assert_eq!(
        fs.known_nodes(),
        1,
        "an entry without room was not forgotten"
    );
}

#[test]
fn who_wants_directories_alone_gets_them_first_and_the_files_after() {
    let mut stack = Stack::new(2);
    for i in 0..200 {
        put(&stack.lower(i % 2, &format!("f{i}")), "");
        put(&stack.lower(i % 2, &format!("d{}/f", i % 7)), "");
    }
    stack.open();
    let fs = stack.fs();
    let (mut cookie, mut first, mut rest) = (0, Vec::new(), Vec::new());
    fs.readdir_plus(fs.root(), 0, Wants::Directories, |entry, found| {
        cookie = entry.cookie;
        first.push((entry.name.to_str().unwrap().to_owned(), found.unwrap().attr));
        Fill::More
    })
    .unwrap();
    first.drain(..2);
    assert!(
        first
            .iter()
            .all(|(_, attr)| attr.kind == FileKind::Directory)
    );
    assert_eq!(first.len(), 7);
    assert_eq!(fs.known_nodes(), 8, "a file was looked up without need");
    // The kernel may ask for attributes later on, when there are no more directories.
    fs.readdir_plus(fs.root(), cookie, Wants::Directories, |entry, found| {
        let attr = found.unwrap().attr;
        assert_eq!((entry.ino, entry.kind), (attr.ino, FileKind::Regular));
        rest.push(entry.name.to_str().unwrap().to_owned());
        Fill::More
    })
    .unwrap();
    rest.sort();
    let mut files: Vec<_> = (0..200).map(|i| format!("f{i}")).collect();
    files.sort();
    assert_eq!(rest, files);
    for (name, attr) in first {
        assert_eq!(stack.attr(&name).unwrap(), attr);
    }
}

#[test]
fn a_read_only_stack_refuses_changes() {
    let mut stack = Stack::new(1);
    stack.read_only = true;
    put(&stack.lower(0, "d/f"), "text");
    stack.open();
    assert_eq!(stack.read("d/f"), "text");
    assert_eq!(stack.write("d/f", 0, "x"), Err(Errno::ROFS));
    assert_eq!(stack.create("d/g", ""), Err(Errno::ROFS));
    assert_eq!(stack.unlink("d/f"), Err(Errno::ROFS));
    assert_eq!(stack.chmod("d/f", 0o600), Err(Errno::ROFS));
    assert_eq!(stack.rename("d/f", "d/g"), Err(Errno::ROFS));
}

#[test]
fn hard_links_of_a_lower_file_show_one_inode() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a"), "text");
    std::fs::hard_link(stack.lower(0, "a"), stack.lower(0, "b")).unwrap();
    stack.open();
    let (a, b) = (stack.attr("a").unwrap(), stack.attr("b").unwrap());
    assert_eq!(a, b);
    assert_eq!(a.nlink, 2);
}

#[test]
fn types_and_link_targets_are_shown() {
    let mut stack = Stack::new(1);
    std::os::unix::fs::symlink("../target", stack.lower(0, "link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, stack.lower(0, "fifo"), 0o640.into()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(stack.lower(0, "socket")).unwrap());
    stack.open();
    let fs = stack.fs();
    assert_eq!(stack.attr("fifo").unwrap().kind, FileKind::Fifo);
    assert_eq!(stack.attr("socket").unwrap().kind, FileKind::Socket);
    assert_eq!(stack.attr("link").unwrap().kind, FileKind::Symlink);
    assert_eq!(fs.readlink(stack.hold("link")).unwrap(), b"../target");
    assert_eq!(fs.readlink(stack.hold("fifo")), Err(Errno::INVAL));
}

#[test]
fn what_is_no_overlay_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let path = tmp.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let open = |lower: &std::path::Path, upper: &std::path::Path, work: &std::path::Path| {
        Overlay::open(&Config {
            lowers: vec![LowerLayer::new(lower)],
            upper: Some(UpperLayer {
                path: upper.to_owned(),
                work: work.to_owned(),
                records: OverrideStatMode::None,
                marks: XattrTrust::Own,
                archive_names: false,
            }),
            ..Config::default()
        })
    };
    let (lower, upper, work) = (dir("lower"), dir("upper"), dir("work"));
    let overlap = |result| matches!(result, Err(MountError::Overlap { .. }));
    assert!(overlap(open(&lower, &upper, &dir("upper/work"))));
    assert!(overlap(open(&lower, &dir("work/upper"), &work)));
    assert!(overlap(open(&dir("upper/lower"), &upper, &work)));
    assert!(overlap(open(&upper, &upper, &work)));
    // The work directory is emptied: it must not be a layer, nor hold one.
    let kept = dir("lower/work").join("kept");
    std::fs::write(&kept, "").unwrap();
    assert!(overlap(open(&lower, &upper, &lower)));
    assert!(overlap(open(&dir("work/work/lower"), &upper, &work)));
    assert!(kept.exists());
    assert!(matches!(
        open(&tmp.path().join("missing"), &upper, &work),
        Err(MountError::Open { role: "lower", .. })
    ));
    let none = Overlay::open(&Config::default());
    assert!(matches!(none, Err(MountError::NoLower)));
    let opened = open(&lower, &upper, &work);
    assert!(opened.is_ok(), "{opened:?}");
    let second = open(&lower, &upper, &dir("work2"));
    assert!(matches!(
        second,
        Err(MountError::InUse { role: "upper", .. })
    ));
}

/// Whiteouts as containers-storage unpacks them.
#[test]
fn whiteouts_in_the_form_of_files_hide_what_is_below() {
    let mut stack = Stack::new(3);
    for name in ["d/a", "d/b", "d/q", "e/below", "gone/x"] {
        put(&stack.lower(2, name), "bottom");
    }
    for name in ["d/.wh.a", "d/.wh.q", "e/.wh..wh..opq", ".wh.gone"] {
        put(&stack.lower(1, name), "");
    }
    put(&stack.lower(1, "d/q"), "its own");
    put(&stack.lower(0, "d/top"), "");
    stack.archive_names = true;
    stack.open();
    for _ in 0..2 {
        assert_eq!(stack.list(""), ["d", "e"]);
        assert_eq!(stack.list("d"), ["b", "q", "top"]);
        assert!(stack.list("e").is_empty());
        assert_eq!(stack.read("d/q"), "its own");
        for hidden in ["d/a", "gone", "d/.wh.a", "e/below"] {
            assert!(!stack.exists(hidden), "{hidden}");
        }
        stack.remount();
    }
    assert_eq!(stack.create("d/.wh.b", ""), Err(Errno::INVAL));
    assert_eq!(stack.rename("d/b", "d/.wh.b"), Err(Errno::INVAL));
    stack.unlink("d/q").unwrap();
    stack.mkdir("gone").unwrap();
    stack.remount();
    assert_eq!(stack.list("d"), ["b", "top"]);
    assert!(stack.list("gone").is_empty());
    stack.rmdir("e").unwrap();
    stack.remove_all("d");
    assert_eq!(stack.list(""), ["gone"]);
}

/// As fuse-overlayfs leaves them where it cannot make devices.
#[test]
fn whiteouts_in_the_form_of_files_are_read_in_the_upper_layer() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/a"), "");
    put(&stack.lower(0, "dir/below"), "");
    put(&stack.upper("d/.wh.a"), "");
    put(&stack.upper(".wh.dir"), "");
    stack.archive_names = true;
    stack.open();
    assert!(stack.list("d").is_empty());
    assert_eq!(stack.list(""), ["d"]);
    stack.create("d/a", "new").unwrap();
    stack.mkdir("dir").unwrap();
    stack.remount();
    assert_eq!(stack.read("d/a"), "new");
    assert!(stack.list("dir").is_empty());
    assert!(!stack.upper("d/.wh.a").exists());
}

#[test]
fn owners_are_shown_as_others() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "");
    let range = |shown, stored| IdRange {
        shown,
        stored,
        count: 1,
    };
    let (uid, gid) = (me().uid, me().gid);
    stack.owners = Owners {
        uids: Ids::Mapped {
            ranges: vec![range(7, uid)],
            overflow: 65534,
        },
        gids: Ids::Squashed(9),
    };
    stack.open();
    let owner = |stack: &Stack, name: &str| {
        let attr = stack.attr(name).unwrap();
        (attr.uid, attr.gid)
    };
    assert_eq!(owner(&stack, "f"), (7, 9));
    let caller = Caller {
        uid: 7,
        gid: 9,
        ..me()
    };
    let fs = stack.fs();
    let mode = S_IFREG | 0o600;
    let made = fs.mknod(&caller, fs.root(), "new".as_ref(), mode, Device::default());
    assert_eq!((made.unwrap().attr.uid, made.unwrap().attr.gid), (7, 9));
    let chown = SetAttr {
        uid: Some(7),
        gid: Some(4),
        ..SetAttr::default()
    };
    stack.setattr("f", chown).unwrap();
    for name in ["new", "f"] {
        assert_eq!(owner(&stack, name), (7, 9), "{name}");
        let meta = std::fs::metadata(stack.upper(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{name}");
    }
}

#[test]
fn lower_layers_that_overlap_are_refused() {
    let stack = Stack::new(3);
    let config = |paths: &[PathBuf]| Config {
        lowers: paths.iter().cloned().map(LowerLayer::new).collect(),
        ..Config::default()
    };
    fs::create_dir_all(stack.lower(1, "a/b")).unwrap();
    fs::create_dir_all(stack.lower(1, "a.b")).unwrap();
    let path = |layer, path| stack.lower(layer, path);
    for (paths, said) in [
        ([path(0, ""), path(1, ""), path(0, ".")], "given twice"),
        (
            [path(1, "a/b"), path(0, ""), path(1, "")],
            "inside the other",
        ),
        (
            [path(1, "a"), path(1, "a.b"), path(1, "a/b")],
            "inside the other",
        ),
    ] {
        let refused = Overlay::open(&config(&paths)).unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
        assert_eq!(refused.errno(), Errno::LOOP);
    }
    // Wherever a path seems to lead.
    let link = path(2, "link");
    std::os::unix::fs::symlink(path(1, ""), &link).unwrap();
    let back = path(1, "a/..");
    for given in [link.join("a"), link, back.join("a/b"), back] {
        for paths in [[path(1, "a"), given.clone()], [given, path(1, "a")]] {
            let refused = Overlay::open(&config(&paths)).unwrap_err();
            assert_eq!(refused.errno(), Errno::LOOP, "{paths:?}");
        }
    }
    let apart = [path(1, "a"), path(1, "a.b"), path(0, "")];
    Overlay::open(&config(&apart)).unwrap();
}

/// As fuse-overlayfs makes them, for tools that look for a file.
#[test]
fn an_opaque_directory_has_a_file_that_says_so_where_whiteouts_may_be_files() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/below"), "");
    put(&stack.lower(0, "e/below"), "");
    stack.archive_names = true;
    stack.open();
    let marker = |stack: &Stack, path: &str| stack.upper(path).join(".wh..wh..opq");
    stack.remove_all("d");
    stack.mkdir("d").unwrap();
    assert!(is_opaque(&stack.upper("d")) && marker(&stack, "d").exists());
    assert!(stack.list("d").is_empty());
    stack.mkdir("new").unwrap();
    let before = fs::metadata(stack.upper("new")).unwrap().mtime_nsec();
    stack.remove_all("e");
    stack.rename("new", "e").unwrap();
    assert!(marker(&stack, "e").exists());
    assert_eq!(fs::metadata(stack.upper("e")).unwrap().mtime_nsec(), before);
    stack.create("e/f", "text").unwrap();
    stack.remount();
    assert_eq!(stack.list("e"), ["f"]);
    // It is in no program's way.
    stack.unlink("e/f").unwrap();
    stack.rename("d", "e").unwrap();
    stack.rmdir("e").unwrap();
    assert!(stack.list("").is_empty());
}

/// Layers that overlap only after the mount, or whose paths do not show it.
#[test]
fn a_layer_that_is_met_inside_another_is_an_error() {
    let mut stack = Stack::new(2);
    put(&stack.lower(0, "d/own"), "own");
    put(&stack.lower(1, "below"), "below");
    stack.changes_below();
    stack.open();
    let root = |path: std::path::PathBuf| path.components().as_path().to_owned();
    let (other, work) = (root(stack.lower(1, "")), stack.work());
    let work = work.parent().unwrap();
    for (from, to, met) in [
        (&*other, stack.lower(0, "d/other"), "d/other"),
        (&*other, stack.upper("other"), "other"),
        (&*root(stack.upper("")), stack.lower(0, "upper"), "upper"),
        (work, stack.lower(1, "work"), "work"),
    ] {
        std::fs::rename(from, &to).unwrap();
        let found = stack.attr(met);
        let shown = stack.read("d/own");
        std::fs::rename(&to, from).unwrap();
        assert_eq!(found.unwrap_err(), Errno::LOOP, "{met}");
        assert_eq!(shown, "own", "{met}");
        stack.remount();
        stack.changes_below();
    }
}

#[test]
fn layers_inside_a_living_upper_layer_are_refused_where_an_index_is_kept() {
    let mut stack = Stack::new(1);
    stack.open();
    let tmp = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let path = tmp.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let open = |lower: std::path::PathBuf, upper: std::path::PathBuf, index| {
        let mut config = stack.config();
        config.lowers = vec![LowerLayer::new(lower)];
        config.index = index;
        config.upper = config.upper.map(|known| UpperLayer {
            work: upper.with_extension("work"),
            path: upper,
            ..known
        });
        Overlay::open(&config).map(drop)
    };
    let inside = stack.upper("inside");
    std::fs::create_dir(&inside).unwrap();
    for name in ["upper.work", "other.work"] {
        dir(name);
    }
    let (lower, upper) = (dir("lower"), dir("upper"));
    let other = inside.join("other");
    for path in [&other, &other.with_extension("work")] {
        std::fs::create_dir(path).unwrap();
    }
    for (lower, upper) in [
        (inside, upper.clone()),
        (stack.upper(""), upper.clone()),
        (lower.clone(), other),
    ] {
        let refused = open(lower.clone(), upper.clone(), IndexUse::On);
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, MountError::InUseAbove { .. }),
            "{refused}"
        );
        assert_eq!(refused.errno(), Errno::BUSY);
        // The kernel's overlay takes what is undefined then.
        open(lower, upper, IndexUse::Off).unwrap();
    }
    open(lower, upper, IndexUse::On).unwrap();
}

#[test]
fn a_lock_of_another_program_above_a_layer_refuses_no_index() {
    let stack = Stack::new(1);
    let above = stack.upper("").parent().unwrap().to_owned();
    let mut holder = std::process::Command::new("flock")
        .args(["--exclusive", "--no-fork"])
        .arg(&above)
        .args(["sh", "-c", "echo locked; exec sleep 60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    let mut output = holder.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut line).unwrap();
    let mut config = stack.config();
    config.index = IndexUse::On;
    let opened = Overlay::open(&config).map(drop);
    holder.kill().unwrap();
    holder.wait().unwrap();
    opened.unwrap();
}

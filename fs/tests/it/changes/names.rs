//! Names that are made, removed and renamed.

use super::*;

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

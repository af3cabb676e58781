//! Hard links.

use super::*;

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

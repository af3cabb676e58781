//! Whiteouts and opaque directories.

use super::*;

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

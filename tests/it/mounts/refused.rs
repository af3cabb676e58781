//! What is refused.

use super::*;

#[test]
fn what_cannot_be_mounted_is_one_line_and_leaves_nothing() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let merged = stack.merged("");
        let said = |options: &str, contains: &str| {
            let (status, line) = fail(plyfs(["mount", "-o", options]).arg(&merged));
            assert_eq!(status, 1);
            assert!(line.contains(contains), "{line}");
            assert!(!is_mounted(&merged));
        };
        let lower = stack.lower(0, "").display().to_string();
        said("lowerdir=/no/such/dir", "/no/such/dir");
        said(&format!("lowerdir={lower},upperdir=/tmp"), "work directory");
        said(&format!("lowerdir={lower},nonsense"), "nonsense");
        said(
            &format!("{},lowerdir={}", stack.options(), stack.upper("").display()),
            "overlap",
        );
        // The status is 2, as for every missing argument.
        let (status, line) = fail(plyfs(["mount", "-o", "ro"]).arg(&merged));
        assert_eq!(status, 2);
        assert!(line.contains("lowerdir="), "{line}");
        let (_, line) = fail(&mut plyfs([
            "mount",
            "-o",
            &stack.options(),
            "/no/such/mountpoint",
        ]));
        assert!(line.contains("/no/such/mountpoint"), "{line}");
        assert!(line.ends_with("make it first"), "{line}");
        let file = stack.path("file");
        fs::write(&file, "").unwrap();
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(&file));
        assert!(line.contains("no directory"), "{line}");
        let (_, line) = fail(plyfs(["umount"]).arg(&merged));
        assert!(line.contains("merged"), "{line}");
    });
}

#[test]
fn a_work_directory_serves_one_mount() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let other = stack.path("other");
        fs::create_dir(&other).unwrap();
        let (_, line) = fail(plyfs(["mount", "-o", &stack.options()]).arg(&other));
        assert!(line.contains("in use"), "{line}");
        assert!(!is_mounted(&other));
        stack.unmount();
        stack.mount();
    });
}

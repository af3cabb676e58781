//! Mounts that are read-only.

use super::*;

#[test]
fn a_read_only_mount_refuses_changes() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        stack.mount_with("ro");
        let error = fs::write(stack.merged("f"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "text");
    });
}

/// As in the kernel's overlay, where it is not left out.
#[test]
fn a_read_only_mount_shows_its_upper_layer() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "lower");
        put(&stack.upper("f"), "upper");
        stack.mount_with("ro");
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "upper");
    });
}

#[test]
fn a_mount_is_made_read_only_and_writable_again() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount_with("nodev");
        let remount = |options: &str| {
            plyfs(["mount", "-o", options])
                .arg(stack.merged(""))
                .output()
        };
        let write = || fs::write(stack.merged("f"), "text").map_err(|error| error.kind());
        assert_eq!(write(), Ok(()));
        assert!(remount("remount,ro").unwrap().status.success());
        assert_eq!(write(), Err(std::io::ErrorKind::ReadOnlyFilesystem));
        assert!(remount("remount,rw").unwrap().status.success());
        assert_eq!(write(), Ok(()));
        let options = mount_options(&stack.merged(""));
        assert!(options.contains("nodev"), "{options}");
    });
}

#[test]
fn a_mount_without_an_upper_layer_stays_read_only() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let (lower, merged) = (stack.lower(0, ""), stack.merged(""));
        let lower = format!("lowerdir={}", lower.display());
        succeed(plyfs(["mount", "-o", &lower]).arg(&merged));
        let (_, line) = fail(plyfs(["mount", "-o", "remount,rw"]).arg(&merged));
        assert!(line.contains("no upper directory"), "{line}");
        let options = mount_options(&merged);
        assert!(options.starts_with("ro"), "{options}");
        succeed(plyfs(["umount"]).arg(&merged));
    });
}

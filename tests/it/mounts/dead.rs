//! Mounts whose daemon has ended.

use super::*;

#[test]
fn a_mount_whose_daemon_has_ended_is_named_and_replaced() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
        let is_dead = || {
            let found = rustix::fs::statfs(stack.merged(""));
            found.err() == Some(rustix::io::Errno::NOTCONN)
        };
        let start = std::time::Instant::now();
        while !is_dead() {
            assert!(start.elapsed().as_secs() < 10, "the daemon lives");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let program = stack.path("fuse-overlayfs");
        std::os::unix::fs::symlink(PLYFS, &program).unwrap();
        let options = stack.options();
        let mount = |more: &[&str]| {
            let mut command = plyfs(["mount", "-o", &options]);
            command.args(more).arg(stack.merged(""));
            command
        };
        let (_, line) = fail(&mut mount(&[]));
        assert!(
            line.contains("has ended") && line.contains("--replace"),
            "{line}"
        );
        let (_, line) = fail(
            Command::new(program)
                .args(["-o", &options])
                .arg(stack.merged("")),
        );
        assert!(line.contains("has ended"), "{line}");
        assert!(is_dead());
        succeed(&mut mount(&["--replace"]));
        assert_eq!(fs::read(stack.merged("f")).unwrap(), b"text");
        // `--replace` does not replace a mount whose daemon lives.
        let (_, line) = fail(&mut mount(&["--replace"]));
        assert!(line.contains("busy"), "{line}");
        stack.unmount();
        assert!(!is_mounted(&stack.merged("")));
    });
}

#[test]
fn a_mount_that_was_made_through_a_link_is_unmounted_through_it() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        put(&stack.lower(0, "f"), "text");
        let link = stack.path("link");
        std::os::unix::fs::symlink("merged", &link).unwrap();
        for again in [false, true] {
            succeed(plyfs(["mount", "-o", &stack.options()]).arg(&link));
            assert!(is_mounted(&stack.merged("")), "{again}");
            assert_eq!(fs::read(link.join("f")).unwrap(), b"text");
            succeed(plyfs(["umount"]).arg(&link));
            assert!(!is_mounted(&stack.merged("")), "{again}");
        }
        let (_, line) = fail(plyfs(["umount"]).arg(&link));
        assert!(line.contains("nothing is mounted"), "{line}");
    });
}

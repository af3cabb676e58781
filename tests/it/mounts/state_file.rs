//! The file in which the process that serves a mount says its state.

use super::*;

/// The files of mounts that name this process.
fn files_of(pid: Pid) -> Vec<PathBuf> {
    let files = state_directories().into_iter().flat_map(fs::read_dir);
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().nth(1) == Some(&pid.to_string())
    });
    paths
}

#[test]
fn a_mount_has_a_file_until_it_is_unmounted() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let files = files_of(daemon_of(&stack.merged("")).unwrap());
        assert_eq!(files.len(), 1, "{files:?}");
        stack.unmount();
        assert!(!files[0].exists());
    });
}

#[test]
fn umount_removes_the_file_of_a_daemon_that_was_killed() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        let files = files_of(daemon);
        assert_eq!(files.len(), 1, "{files:?}");
        kill_process(daemon, Signal::KILL).unwrap();
        let output = plyfs(["umount"]).arg(stack.merged("")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        assert!(!files[0].exists());
        stack.mount();
        stack.unmount();
    });
}

/// As in containers whose /run cannot be written to.
#[test]
fn mounting_and_unmounting_need_no_runtime_directory() {
    inside(this_test!(), || {
        for place in ["/run", "/tmp"] {
            let flags = rustix::mount::MountFlags::RDONLY;
            if place == "/run" || !is_initial_namespace() {
                rustix::mount::mount("none", place, "tmpfs", flags, None).unwrap();
            }
        }
        let merged = PathBuf::from("/dev/shm/plyfs-test-merged");
        let lower = PathBuf::from("/dev/shm/plyfs-test-lower");
        for dir in [&merged, &lower] {
            fs::create_dir_all(dir).unwrap();
        }
        for backend in ["fuse", "auto"] {
            let options = format!("lowerdir={},backend={backend}", lower.display());
            for command in [
                plyfs(["mount", "-o", &options]).arg(&merged),
                plyfs(["umount"]).arg(&merged),
            ] {
                command.env_remove("XDG_RUNTIME_DIR");
                let output = command.output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                assert_eq!(text(&output.stderr), "");
            }
        }
        fs::remove_dir(&merged).unwrap();
        fs::remove_dir(&lower).unwrap();
    });
}

/// The other copy is in this mount namespace, and the message says where.
#[test]
fn umount_names_the_place_of_another_copy() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let copy = stack.lower(0, "").with_file_name("copy");
        fs::create_dir(&copy).unwrap();
        rustix::mount::mount_bind(stack.merged(""), &copy).unwrap();
        let output = plyfs(["umount"]).arg(stack.merged("")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line = text(&output.stderr);
        assert!(
            line.contains(&format!("still mounted on {}", copy.display())),
            "{line}"
        );
        succeed(plyfs(["umount"]).arg(&copy));
    });
}

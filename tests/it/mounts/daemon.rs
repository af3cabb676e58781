//! The process that serves a mount.

use super::*;

#[test]
fn the_source_and_type_are_those_asked_for() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount_with("fsname=overlay,subtype=other");
        assert_eq!(mount_type(&stack.merged("")), "fuse.other");
    });
}

#[test]
fn a_signal_ends_the_daemon_and_the_mount() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let mut daemon = plyfs(["mount", "--foreground", "-o", &stack.options()])
            .arg(stack.merged(""))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !is_mounted(&stack.merged("")) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        fs::write(stack.merged("f"), "text").unwrap();
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(daemon.wait().unwrap().success());
        assert!(!is_mounted(&stack.merged("")));
        assert_eq!(fs::read_to_string(stack.upper("f")).unwrap(), "text");
    });
}

/// If the table of descriptors grows while the process has several threads, the kernel waits for all processors, ten
/// milliseconds and more. fork(2) does not hand down a table that the parent has enlarged.
#[test]
fn the_table_of_descriptors_is_large_from_the_start() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        let status = format!("/proc/{}/status", daemon.as_raw_nonzero());
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size: u64 = line.unwrap().trim().parse().unwrap();
        assert!(size >= 512, "{size}");
        stack.unmount();
    });
}

/// Waking a thread takes longer than either. Python asks of every file it opens whether it is a terminal.
#[test]
fn what_can_be_answered_at_once_wakes_no_thread() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        let sector = "x".repeat(512);
        put(&stack.lower(0, "sector"), &sector);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        // How often the threads of the pools have gone to sleep; `None` while one has not done so yet.
        let slept = || {
            let tasks = fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
            let statuses =
                tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
            let pools = statuses.filter(|status| {
                status.starts_with("Name:\tplyfs-copy\n")
                    || status.starts_with("Name:\tplyfs-sync\n")
            });
            let counts: Vec<u64> = pools
                .map(|status| {
                    let count = status
                        .lines()
                        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
                    count.unwrap().trim().parse().unwrap()
                })
                .collect();
            let all = counts.len() == 2 && !counts.contains(&0);
            all.then(|| counts.iter().sum::<u64>())
        };
        let wait_until = |what: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !what() {
                assert!(start.elapsed() < Duration::from_secs(30));
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_until(&|| slept().is_some());
        let before = slept();
        let file = File::open(stack.merged("sector")).unwrap();
        assert!(!file.is_terminal());
        assert_eq!(slept(), before);
        // The file ends where a read could also be short because the following data is not in memory.
        assert_eq!(fs::read_to_string(stack.merged("sector")).unwrap(), sector);
        assert_eq!(slept(), before);
        let copy = File::create(stack.merged("copy")).unwrap();
        let copied = rustix::fs::copy_file_range(&file, None, &copy, None, 1 << 30);
        assert_eq!(copied, Ok(sector.len()));
        assert_eq!(fs::read_to_string(stack.merged("copy")).unwrap(), sector);
        drop(copy);
        assert_eq!(slept(), before);
        // This request does wake a thread, so the check above would see it.
        rustix::fs::ioctl_getflags(&file).ok();
        wait_until(&|| slept() > before);
        drop(file);
        stack.unmount();
    });
}

#[test]
fn unmounting_waits_for_the_daemon() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        for i in 0..20 {
            // The work directory is locked as long as a daemon lives.
            stack.mount();
            fs::write(stack.merged("f"), format!("{i}")).unwrap();
            stack.unmount();
        }
    });
}

#[test]
fn a_busy_mount_is_not_unmounted() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "");
        stack.mount();
        let file = fs::File::open(stack.merged("f")).unwrap();
        let (_, line) = fail(plyfs(["umount"]).arg(stack.merged("")));
        assert!(line.contains("busy"), "{line}");
        assert!(is_mounted(&stack.merged("")));
        drop(file);
        stack.unmount();
    });
}

#[test]
fn usage_is_explained() {
    let help = succeed(&mut plyfs(["--help"]));
    for command in ["mount", "umount", "unshare"] {
        assert!(help.contains(command), "{help}");
    }
    let output = plyfs(["no-such-command"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_daemon_holds_no_pipe_of_its_caller() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let script = r#"
            exec 3>&1
            "$0" mount -o "$1" "$2" && echo mounted >&3
        "#;
        let mut command = std::process::Command::new("timeout");
        command.args(["20", "sh", "-c", script, PLYFS, &stack.options()]);
        // This reads until all processes have closed the pipe.
        let said = succeed(command.arg(stack.merged("")));
        assert_eq!(said, "mounted\n");
        succeed(plyfs(["umount"]).arg(stack.merged("")));
    });
}

#[test]
fn unmounting_does_not_wait_for_other_mount_namespaces() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let mut other = Command::new("unshare");
        other.args(["--mount", "sh", "-c", "echo ready; exec sleep 60"]);
        let mut other = other.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
        let output = plyfs(["umount"]).arg(stack.merged("")).output().unwrap();
        assert!(output.status.success());
        let line = text(&output.stderr);
        assert!(line.contains("still mounted in another"), "{line}");
        other.kill().unwrap();
        other.wait().unwrap();
        // The daemon ends when the last namespace with the mount has ended.
        let options = stack.options();
        let again = || {
            plyfs(["mount", "-o", &options])
                .arg(stack.merged(""))
                .output()
        };
        let start = std::time::Instant::now();
        while !again().unwrap().status.success() {
            assert!(start.elapsed().as_secs() < 10);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        stack.unmount();
    });
}

/// The superuser's daemon must not write data of other users beyond quotas or into reserved blocks.
#[test]
fn the_daemon_gives_up_what_exempts_from_limits() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let daemon = daemon_of(&stack.merged("")).unwrap();
        let sets = rustix::thread::capabilities(Some(daemon)).unwrap();
        let resource = rustix::thread::CapabilitySet::SYS_RESOURCE;
        assert!(!sets.effective.contains(resource));
        assert!(!sets.effective.is_empty());
    });
}

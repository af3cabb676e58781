//! Limits, umask, signal actions and priorities that a daemon inherits do not harm its mount.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::*;
use rustix::process::{Pid, Signal, kill_process};

/// `plyfs mount` of a stack by a shell that does something first.
fn mount_after(stack: &Stack, script: &str, more: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}; exec \"$@\""), "sh"]);
    let mount = plyfs(
        ["mount", "-o", &stack.options()]
            .iter()
            .chain(more)
            .map(OsStr::new),
    );
    command.arg(mount.get_program()).args(mount.get_args());
    command.env("PLYFS_BACKEND", "fuse").arg(stack.merged(""));
    command
}

fn mounted_after(lowers: usize, script: &str) -> Stack {
    let mut stack = Stack::new(lowers);
    put(&stack.lower(0, "large"), &"large ".repeat(150_000));
    put(&stack.lower(0, "small"), "small");
    succeed(&mut mount_after(&stack, script, &[]));
    stack.mounted_by_other();
    stack
}

#[test]
fn a_soft_limit_of_file_sizes_is_lifted() {
    inside(this_test!(), || {
        let stack = mounted_after(1, "ulimit -S -f 100");
        let file = File::create(stack.merged("new")).unwrap();
        file.write_all_at(&[1; 1 << 20], 0).unwrap();
        file.sync_all().unwrap();
        fs::set_permissions(stack.merged("large"), PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(fs::metadata(stack.upper("large")).unwrap().len(), 900_000);
    });
}

#[test]
fn a_hard_limit_of_file_sizes_does_not_end_the_daemon() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "small"), "small");
        let output = mount_after(&stack, "ulimit -f 100", &[]).output().unwrap();
        stack.mounted_by_other();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let file = File::create(stack.merged("new")).unwrap();
        let written = file
            .write_all_at(&[1; 1 << 20], 0)
            .and_then(|()| file.sync_all());
        // Only with CAP_SYS_RESOURCE it can be lifted; else the user is warned, and the write fails as it says.
        match said.contains("ulimit -f") {
            true => assert_eq!(
                written.unwrap_err().kind(),
                std::io::ErrorKind::FileTooLarge
            ),
            false => written.unwrap(),
        }
        assert_eq!(fs::read_to_string(stack.merged("small")).unwrap(), "small");
        fs::write(stack.merged("other"), "other").unwrap();
    });
}

#[test]
fn a_soft_limit_of_processor_time_is_lifted() {
    inside(this_test!(), || {
        let stack = mounted_after(1, "ulimit -S -t 60; ulimit -S -v 4000000");
        let pid = daemon_of(&stack.merged("")).unwrap().as_raw_nonzero();
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        for name in ["Max cpu time", "Max address space"] {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let soft = line.split_whitespace().nth(3).unwrap();
            assert_eq!(soft, "unlimited", "{line}");
        }
    });
}

#[test]
fn a_daemon_is_of_ordinary_priority_for_time_disks_and_memory() {
    let name = this_test!();
    inside(name, || {
        if !is_initial_namespace() {
            return skip(name, "an ordinary user cannot raise a priority");
        }
        let stack = mounted_after(
            1,
            "echo 500 >/proc/self/oom_score_adj; renice -n 10 $$ >/dev/null; ionice -c 3 -p $$; \
             chrt -b -p 0 $$",
        );
        let pid = daemon_of(&stack.merged("")).unwrap().as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the name: state is the first field, nice the 17th, the policy the 39th (proc_pid_stat(5)).
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        assert_eq!((fields[16], fields[38]), ("0", "0"), "{stat}");
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score.trim(), "0");
        let class = succeed(Command::new("ionice").arg("-p").arg(pid.to_string()));
        assert!(class.starts_with("none"), "{class}");
    });
}

/// A plain user's daemon, mounted by fusermount3(1), which no capability lets into its directories.
#[test]
fn a_plain_user_mounts_with_any_mask_and_ignored_children() {
    let name = this_test!();
    if let Some(why) = cannot_run_as_ordinary_user() {
        return skip(name, &why);
    }
    if Command::new("fusermount3")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip(name, "there is no fusermount3");
    }
    let stack = Stack::new(1);
    put(&stack.lower(0, "small"), "small");
    let root = rustix::process::geteuid().is_root();
    if root {
        let tmp = stack.path("");
        succeed(
            Command::new("chown")
                .args(["-R", &format!("{NOBODY}:{NOBODY}")])
                .arg(tmp),
        );
    }
    let as_user = |mut command: Command| {
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let mount = mount_after(&stack, "umask 0777; trap '' CHLD", &[]);
    succeed(&mut as_user(mount));
    let mut touch = Command::new("sh");
    let script = "cat small && mkdir d && rm small && umask 022 && echo x >f";
    touch.args(["-c", script]).current_dir(stack.merged(""));
    let used = as_user(touch).output().unwrap();
    let mut umount = Command::new("sh");
    umount.args(["-c", "trap '' CHLD; exec \"$@\"", "sh"]);
    let command = plyfs(["umount"]);
    umount.arg(command.get_program()).args(command.get_args());
    umount.arg(stack.merged(""));
    succeed(&mut as_user(umount));
    assert!(used.status.success(), "{}", text(&used.stderr));
}

#[test]
fn an_ignored_hangup_does_not_unmount() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "small"), "small");
        let mut mount = mount_after(&stack, "trap '' HUP", &["--foreground"]);
        let mut daemon = mount.spawn().unwrap();
        let start = Instant::now();
        while !is_mounted(&stack.merged("")) && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        stack.mounted_by_other();
        let pid = Pid::from_child(&daemon);
        kill_process(pid, Signal::HUP).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(fs::read_to_string(stack.merged("small")).unwrap(), "small");
        kill_process(pid, Signal::TERM).unwrap();
        assert!(daemon.wait().unwrap().success());
        assert!(!is_mounted(&stack.merged("")));
    });
}

//! Reading without the daemon.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::*;
use rustix::process::{Signal, kill_process};

/// Why passthrough cannot be tried here.
fn cannot() -> Option<&'static str> {
    if !is_initial_namespace() || !rustix::process::geteuid().is_root() {
        return Some("only the superuser of the machine may");
    }
    let report = succeed(&mut plyfs(["doctor", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let mut probes = report["probes"].as_array().unwrap().iter();
    let offered = probes.any(|probe| probe["key"] == "fuse_passthrough" && probe["ok"] == true);
    (!offered).then_some("this kernel has no FUSE passthrough")
}

/// As [`inside`], where passthrough is possible.
fn inside_as_superuser(name: &str, body: impl FnOnce()) {
    match cannot() {
        Some(why) => skip(name, why),
        None => inside(name, body),
    }
}

/// Mounts lower layers without an upper one.
fn mount(stack: &mut Stack, lowers: &str, options: &str) {
    let options = format!("lowerdir={lowers}{options}");
    succeed(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
    stack.mounted_by_other();
}

/// Reads this much of a file, and nothing else, while the daemon is stopped. `None` if that takes too long.
fn read_without(stack: &Stack, file: &File, length: usize) -> Option<Vec<u8>> {
    let daemon = daemon_of(&stack.merged("")).unwrap();
    let (done, result) = mpsc::channel();
    let mut file = file.try_clone().unwrap();
    kill_process(daemon, Signal::STOP).unwrap();
    let reader = std::thread::spawn(move || {
        let mut data = vec![0; length];
        file.read_exact(&mut data).unwrap();
        // The receiver is gone if the read took too long.
        done.send(data).ok();
    });
    let data = result.recv_timeout(Duration::from_secs(3)).ok();
    kill_process(daemon, Signal::CONT).unwrap();
    reader.join().unwrap();
    data
}

#[test]
fn the_kernel_reads_by_itself_where_it_is_asked_to() {
    inside_as_superuser(this_test!(), || {
        let mut stack = Stack::new(1);
        let content = "what is in the layer ".repeat(100_000);
        put(&stack.lower(0, "f"), &content);
        let lower = stack.lower(0, "").display().to_string();
        mount(&mut stack, &lower, "");
        let file = File::open(stack.merged("f")).unwrap();
        assert_eq!(read_without(&stack, &file, content.len()), None);
        drop(file);
        stack.unmount();

        mount(&mut stack, &lower, ",passthrough=1");
        let file = File::open(stack.merged("f")).unwrap();
        let again = File::open(stack.merged("f")).unwrap();
        let found = read_without(&stack, &file, content.len()).unwrap();
        assert!(found == content.as_bytes());
        drop(file);
        let mut start = [0; 4];
        again.read_exact_at(&mut start, 0).unwrap();
        assert_eq!(&start, b"what");
        drop(again);
        assert!(fs::read_to_string(stack.merged("f")).unwrap() == content);
    });
}

/// The kernel would open the file in the layer for writing.
#[test]
fn no_layer_is_opened_for_writing_by_passthrough() {
    inside_as_superuser(this_test!(), || {
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "f"), "lower");
        let lower = stack.lower(0, "").display().to_string();
        mount(&mut stack, &lower, ",passthrough=1");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount_remount(stack.merged(""), flags, c"").unwrap();
        let _reader = File::open(stack.merged("f")).unwrap();
        let mut options = File::options();
        let opened = options.read(true).write(true).open(stack.merged("f"));
        let error = opened.unwrap_err().raw_os_error();
        assert_eq!(error, Some(rustix::io::Errno::ROFS.raw_os_error()));
        let truncate = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::TRUNC;
        let mode = rustix::fs::Mode::empty();
        let opened = rustix::fs::open(stack.merged("f"), truncate, mode);
        assert_eq!(opened.unwrap_err(), rustix::io::Errno::ROFS);
        fs::write(stack.merged("f"), "changed").unwrap_err();
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(stack.merged("f"), mode).unwrap_err();
        assert_eq!(fs::read_to_string(stack.lower(0, "f")).unwrap(), "lower");
        assert_eq!(fs::read_to_string(stack.merged("f")).unwrap(), "lower");
    });
}

/// The kernel takes no file from an overlay. Both names of a file are open in one way, too.
#[test]
fn what_the_kernel_cannot_read_goes_through_the_daemon() {
    inside_as_superuser(this_test!(), || {
        let mut below = Stack::new(1);
        put(&below.lower(0, "f"), "on an overlay");
        below.mount_kernel();
        fs::hard_link(below.merged("f"), below.merged("g")).unwrap();
        let mut stack = Stack::new(1);
        put(&stack.lower(0, "own"), "in a directory");
        let (own, of_overlay) = (stack.lower(0, ""), below.merged(""));
        let lowers = format!("{}:{}", own.display(), of_overlay.display());
        mount(&mut stack, &lowers, ",passthrough=1");
        let first = File::open(stack.merged("f")).unwrap();
        let own = File::open(stack.merged("own")).unwrap();
        for path in ["f", "g"] {
            assert_eq!(
                fs::read_to_string(stack.merged(path)).unwrap(),
                "on an overlay"
            );
        }
        assert_eq!(
            fs::read_to_string(stack.merged("own")).unwrap(),
            "in a directory"
        );
        drop((first, own));
        stack.unmount();
        rustix::mount::unmount(below.merged(""), rustix::mount::UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn passthrough_of_what_can_change_is_refused() {
    inside(this_test!(), || {
        let stack = Stack::new(1);
        let options = format!("{},passthrough=1", stack.options());
        let (status, line) = fail(plyfs(["mount", "-o", &options]).arg(stack.merged("")));
        assert_eq!(status, 1);
        assert!(line.contains("without an upper directory"), "{line}");
        assert!(!is_mounted(&stack.merged("")));
    });
}

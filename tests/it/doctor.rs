//! `plyfs doctor`: what a machine can do, found out by trying.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::world::{self, World};
use crate::support::*;
use serde_json::Value;

/// The probes that a report has, by their keys.
fn probes(report: &str) -> BTreeMap<String, Value> {
    let report: Value = serde_json::from_str(report).unwrap();
    let probes = report["probes"].as_array().unwrap().iter();
    probes
        .map(|probe| (probe["key"].as_str().unwrap().to_owned(), probe.clone()))
        .collect()
}

#[test]
fn the_machine_is_described() {
    let world = World::new();
    let table = succeed(&mut world.plyfs(["doctor"]));
    let report = succeed(&mut world.plyfs(["doctor", "--json"]));
    let probes = probes(&report);
    for key in [
        "fuse_device",
        "user_namespaces",
        "fusermount3",
        "newuidmap",
        "io_uring",
        "reflink",
        "user_xattrs",
        "o_tmpfile",
        "upper",
    ] {
        let probe = &probes[key];
        let ok = probe["ok"].as_bool().unwrap();
        assert_ne!(probe["remedy"].is_string(), ok, "{probe}");
        let name = probe["name"].as_str().unwrap();
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(
            line.contains(if ok { " ok " } else { " missing " }),
            "{line}"
        );
    }
    // The report has this probe only where the cpuidle driver makes it useful.
    let driver = std::fs::read_to_string("/sys/devices/system/cpu/cpuidle/current_driver");
    let chooses = driver.is_ok_and(|driver| driver.trim() == "haltpoll");
    assert_eq!(probes.contains_key("halt_polling"), chooses);
    // `doctor` leaves no files, and makes no store.
    assert!(world::names(&world.path("")).is_empty());
}

#[test]
fn what_is_tried_is_what_mounts_do() {
    inside(this_test!(), || {
        let world = World::new();
        let all = probes(&succeed(&mut world.plyfs(["doctor", "--json"])));
        let mut stack = Stack::new(2);
        stack.mount_with("backend=fuse");
        stack.unmount();
        assert_eq!(all["fuse_mount"]["ok"], true);
        let options = format!("{},backend=kernel", stack.options());
        let output = plyfs(["mount", "-o", &options])
            .arg(stack.merged(""))
            .output();
        let mounted = output.unwrap().status.success();
        assert_eq!(all["kernel_overlay"]["ok"], mounted);
        if mounted {
            succeed(plyfs(["umount"]).arg(stack.merged("")));
        }
        let script = "mount -t tmpfs none /dev && : >/dev/null && \"$0\" doctor --json";
        let without = succeed(&mut plyfs(["unshare", "sh", "-c", script, PLYFS]));
        let without = probes(&without);
        assert_eq!(without["fuse_device"]["ok"], false);
        assert_eq!(without["fuse_mount"]["ok"], false);
        // fusermount3 opens the device as its caller, so it fails too.
        assert_eq!(without["fusermount3"]["ok"], false);
        assert_eq!(without["kernel_overlay"]["ok"], mounted);
        let remedy = without["fuse_device"]["remedy"].as_str().unwrap();
        assert!(remedy.contains("modprobe fuse"), "{remedy}");
    });
}

#[test]
fn a_machine_where_nothing_mounts_is_a_failure() {
    inside(this_test!(), || {
        let Some(mut command) = without_anything("exec \"$0\" doctor", &[]) else {
            return skip(this_test!(), "there is no setpriv");
        };
        let output = command.output().unwrap();
        let (table, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{table}{said}");
        assert!(table.contains("user.max_user_namespaces"), "{table}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("nothing can be mounted here"), "{said}");
    });
}

#[test]
fn doctor_answers_at_once() {
    let time = |arguments: &[&str]| {
        let start = Instant::now();
        succeed(&mut plyfs(arguments));
        start.elapsed()
    };
    // Of several, and beside a command that makes one namespace: other tests run beside this one.
    let (mut fastest, mut other) = (Duration::MAX, Duration::MAX);
    let fast = (0..40).any(|_| {
        fastest = fastest.min(time(&["doctor", "--json"]));
        other = other.min(time(&["unshare", "true"]));
        fastest < Duration::from_millis(20)
    });
    assert!(fast || fastest < other * 5, "{fastest:?} beside {other:?}");
}

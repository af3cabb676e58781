//! What a program in a container may do, and as whom.

use std::fs;
use std::process::Command;

use plyfs_store::fixture::{Config, Entry, Layer};

use super::cell::*;
use crate::support::*;

/// The capabilities that Podman grants (CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, SYS_CHROOT, SETFCAP).
const GRANTED: u64 = 0x8004_05fb;
const NET_RAW: u64 = 1 << 13;

/// A script that prints /proc/self/status.
const STATUS: &str = "mapfile -t lines </proc/self/status; printf '%s\\n' \"${lines[@]}\"";

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let line = status.lines().find(|line| line.starts_with(name));
    line.unwrap().split_once(':').unwrap().1.trim()
}

fn set(status: &str, name: &str) -> u64 {
    u64::from_str_radix(field(status, name), 16).unwrap()
}

/// CVE-2022-24769, CVE-2022-29162, CVE-2025-27612: no inheritable and ambient capabilities, which programs
/// with file capabilities would make effective; of `run` and `exec`.
#[test]
fn cve_2022_29162_no_capability_is_inheritable() {
    let test = this_test!();
    let images = |_: &_| {
        // cap_net_raw, inheritable, in the form of the kernel's version 2.
        let mut capability = [0; 20];
        (capability[0], capability[3], capability[9]) = (1, 2, 0x20);
        let probe = &probe().unwrap().program;
        let capable = Entry::file("bin/capable", probe).mode(0o755);
        let layer = Layer::new([capable.xattr("security.capability", capability)]);
        vec![("box", layer, Config::default())]
    };
    each(test, images, |cell| {
        let users: &[&str] = if has_ids() {
            &["root", "joe"]
        } else {
            &["root"]
        };
        let words = ["bash", "-c", STATUS];
        for user in users {
            let running = cell.idle(&["-u", user]);
            let mut all = vec![cell.run(&["-u", user], &words), cell.exec(&[], &words)];
            all.extend(users.iter().map(|other| cell.exec(&["-u", other], &words)));
            for said in all {
                let status = said.ok();
                assert_eq!(set(&status, "CapInh"), 0, "{status}");
                assert_eq!(set(&status, "CapAmb"), 0, "{status}");
                assert_eq!(set(&status, "CapBnd") & !GRANTED, 0, "{status}");
                if !field(&status, "Uid").starts_with('0') {
                    assert_eq!(
                        set(&status, "CapPrm") | set(&status, "CapEff"),
                        0,
                        "{status}"
                    );
                }
                assert_eq!(field(&status, "Seccomp"), "2", "{status}");
            }
            running.stop();
        }
        // CVE-2021-20188: another user gets what is added, and nothing more.
        if has_ids() {
            let options = ["-u", "joe", "--cap-add", "NET_RAW"];
            let status = cell.run(&options, &words).ok();
            assert_eq!(set(&status, "CapEff") & !NET_RAW, 0, "{status}");
            assert_eq!(set(&status, "CapInh") & !NET_RAW, 0, "{status}");
        }
    });
}

/// CVE-2022-2989, CVE-2022-36109, CVE-2023-25173: a group that is excluded from a file cannot be given up,
/// and groups of the caller are not the container's.
#[test]
fn cve_2022_2989_the_group_is_among_the_groups() {
    let test = this_test!();
    if !has_ids() {
        return skip(test, "this user has no subordinate ids");
    }
    let images = |_: &_| {
        let file = Entry::file("excluding", "secret")
            .owner(0, 1001)
            .mode(0o607);
        vec![("box", Layer::new([file]), Config::default())]
    };
    each(test, images, |cell| {
        let script = "[[ ! -r /excluding ]] && probe open /excluding r; ";
        let script = format!("{script} {STATUS}");
        let words = ["bash", "-c", &script];
        let running = cell.idle(&[]);
        for said in [
            cell.run(&["-u", "joe"], &words),
            cell.run(&["-u", "1000:1001"], &words),
            cell.exec(&["-u", "joe"], &words),
            cell.exec(&["-u", "7:1001"], &words),
        ] {
            let said = said.ok();
            assert_eq!(field(&said, "Groups"), "1001", "{said}");
            assert!(said.starts_with("/excluding 13\n"), "{said}");
        }
        running.stop();
    });
}

/// CVE-2026-31431 (AF_ALG): calls by which kernels were taken over.
#[test]
fn dangerous_calls_are_refused() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        for said in [
            cell.run(&[], &["probe", "calls"]),
            cell.run(&["--init"], &["probe", "calls"]),
            cell.exec(&[], &["probe", "calls"]),
        ] {
            let said = said.ok();
            assert_eq!(said.lines().count(), 13, "{said}");
            for line in said.lines() {
                // EPERM or ENOSYS, which no kernel gives where it looks at the arguments first.
                assert!(line.ends_with(" 1") || line.ends_with(" 38"), "{line}");
            }
        }
        running.stop();
    });
}

/// The filter compares what the kernel takes: 32 bits of an argument of 64. With more, NETLINK_AUDIT passed.
#[test]
fn wide_arguments_do_not_pass_the_filter() {
    each_plain(this_test!(), |cell| {
        let said = cell.run(&[], &["probe", "wide"]).ok();
        assert_eq!(said.lines().count(), 7, "{said}");
        for line in said.lines() {
            // EPERM, EINVAL or ENOSYS, as the filter has them.
            let refused = [" 1", " 22", " 38"];
            assert!(refused.iter().any(|end| line.ends_with(end)), "{line}");
        }
        // With its capability the audit subsystem is there, for a kernel that has it.
        let said = cell.run(&["--cap-add", "AUDIT_WRITE"], &["probe", "wide"]);
        let said = said.ok();
        let audit = said.lines().filter(|line| line.starts_with("audit"));
        assert!(audit.clone().count() == 4 && audit.clone().all(|line| !line.ends_with(" 22")));
        let said = cell.run(&[], &["probe", "usual"]).ok();
        assert!(said.lines().all(|line| line.ends_with(" ok")), "{said}");
    });
}

#[test]
fn namespaces_are_the_container_s_own() {
    each_plain(this_test!(), |cell| {
        let own = |name: &str| {
            fs::read_link(format!("/proc/self/ns/{name}"))
                .unwrap()
                .display()
                .to_string()
        };
        let running = cell.idle(&["--network", "none"]);
        for name in ["cgroup", "ipc", "mnt", "pid", "uts", "net"] {
            let link = format!("/proc/self/ns/{name}");
            let words = ["probe", "readlink", &link];
            for inside in [
                cell.run(&["--network", "none"], &words),
                cell.exec(&[], &words),
            ] {
                let inside = inside.ok();
                assert!(
                    inside.starts_with(name) && inside.trim_end() != own(name),
                    "{inside}"
                );
            }
        }
        running.stop();
    });
}

/// Paths that show things of the machine are covered, and those that change it are read-only.
#[test]
fn parts_of_proc_and_sys_are_covered() {
    each_plain(this_test!(), |cell| {
        let script = "for d in /sys/dev/block /sys/kernel /sys/firmware /proc/acpi /proc/scsi /sys/fs/selinux \
                      /sys/devices/virtual/powercap; do probe list $d; done; \
                      for f in /proc/kcore /proc/keys /proc/interrupts /proc/timer_list /proc/sched_debug; do \
                      [[ -e $f ]] && printf %s \"$(<$f)\"; done; \
                      for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/domainname \
                      /proc/sys/vm/drop_caches /proc/irq/default_smp_affinity /sys/power/state /sys/module/x; do \
                      probe write $f; done | while read -r f r; do [[ $r == ok ]] && echo wrote $f; done; :";
        for options in [&[][..], &["--network", "none"], &["-u", "0"]] {
            let said = cell.script(options, script);
            assert_eq!(said.ok(), "", "{options:?}");
        }
    });
}

/// Keys of the caller. The filter refuses to look for them, and without it there are none.
#[test]
fn keys_of_the_caller_stay_outside() {
    let test = this_test!();
    each_plain(test, |cell| {
        let name = format!("plyfs-escape-{}", std::process::id());
        let with_key = |command: &Command| {
            let mut caller = cell.probe();
            caller.args(["with-key", &name]).arg(command.get_program());
            finish(caller.args(command.get_args()))
        };
        let mut direct = cell.probe();
        direct.args(["key", &name]);
        let said = with_key(&direct);
        if said.status == 99 {
            return skip(test, "this kernel, or a filter, gives no session keyring");
        }
        assert_eq!(said.ok(), "key ok\n");
        let unfiltered = ["--security-opt", "seccomp=unconfined"];
        let running = cell.idle(&unfiltered);
        let words = ["probe", "key", &name];
        let mut exec = cell.world.plyfs(["exec", "c"]);
        for said in [
            with_key(&cell.command("box", &[], &words)),
            with_key(&cell.command("box", &unfiltered, &words)),
            with_key(exec.args(words)),
        ] {
            let said = said.ok();
            // EPERM, ENOKEY.
            assert!(["key 1\n", "key 126\n"].contains(&said.as_str()), "{said}");
        }
        running.stop();
    });
}

//! `plyfs run --runtime`: crun and runc run a container as the runtime inside does, and leave nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::running::Background;
use crate::support::shell::{self, script, world};
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use rustix::process::{Signal, kill_process};

const RUNTIMES: [&str; 2] = ["crun", "runc"];

/// Does something with each runtime that is there, in a store of its own.
fn each(test: &str, body: impl Fn(&World, &[&str])) {
    for runtime in RUNTIMES {
        let test = format!("{test} ({runtime})");
        if !tools::has(runtime) {
            skip(&test, &format!("there is no {runtime}"));
            continue;
        }
        let Some(world) = world(&test) else { return };
        body(&world, &["--runtime", runtime]);
        assert_nothing_left(&world);
    }
}

fn with<'a>(options: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [options, more].concat()
}

fn said(world: &World, options: &[&str], text: &str) -> String {
    succeed(&mut script(world, options, text))
}

/// Nothing is left in the store, no mount, and no control group.
#[track_caller]
fn assert_nothing_left(world: &World) {
    for dir in ["staging", "mnt"] {
        assert_eq!(world.names(dir), [""; 0], "{dir}");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let store = world.path("").display().to_string();
    assert!(!mounts.contains(&store), "{mounts}");
}

/// The control groups that a runtime made for a `plyfs run`.
fn cgroups_of(pid: u32) -> String {
    let name = format!("plyfs-{pid}");
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-name", &name]);
    text(&find.output().unwrap().stdout)
}

#[test]
fn exit_statuses_are_those_of_the_runtime_inside() {
    each(this_test!(), |world, options| {
        for (arguments, status) in [
            (vec!["true"], 0),
            (vec!["sh", "-c", "exit 1"], 1),
            (vec!["sh", "-c", "exit 255"], 255),
            (vec!["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], 143),
            (vec!["nothing"], 127),
            (vec!["/bin/nothing"], 127),
            (vec!["/etc/text"], 126),
        ] {
            let mut command = world.plyfs(["run"]);
            command.args(options).arg("box:test").args(&arguments);
            let output = command.output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(status),
                "{arguments:?}: {stderr}"
            );
        }
    });
}

#[test]
fn a_runtime_that_cannot_be_executed_gives_125_and_the_reason() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let runtime = world.path("runtime");
    fs::write(&runtime, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
    let runtime = runtime.display().to_string();
    let (status, line) = fail(&mut script(&world, &["--runtime", &runtime], "true"));
    assert_eq!(status, 125, "{line}");
    assert!(line.contains("cannot execute the runtime"), "{line}");
    assert_nothing_left(&world);
}

/// Other runtimes would follow a link of the image to its root, and mount over it.
#[test]
fn places_are_checked_for_other_runtimes_too() {
    each(this_test!(), |world, options| {
        let image = |name: &str, link: &str, to: &str| {
            let link = Layer::new([Entry::dir("etc"), Entry::symlink(link, to)]);
            let image = ImageBuilder::new()
                .layer(shell::busybox().unwrap(), Compression::None)
                .layer(link, Compression::None);
            world.with_image(name, &image);
        };
        image("top", "place", "/");
        image("null", "place", "/dev/null");
        image("hosts", "etc/hosts", "/dev/null");
        let given = world.path("given");
        fs::create_dir_all(&given).unwrap();
        let run = |image: &str, options: &[&str]| {
            let mut run = world.plyfs(["run"]);
            run.args(options).arg(format!("{image}:test"));
            run.args(["sh", "-c", "test -c /dev/null && echo in"]);
            run
        };
        let volume = format!("{}:/place", given.display());
        for image in ["top", "null"] {
            for mounted in [["-v", &volume], ["--tmpfs", "/place"]] {
                let (status, line) = fail(&mut run(image, &with(options, &mounted)));
                assert_eq!(status, 125, "{line}");
                assert!(line.contains("in this image it is a link"), "{line}");
            }
        }
        assert_eq!(succeed(&mut run("hosts", options)), "in\n");
    });
}

/// plyfs holds signals back while it attends to a container; a runtime that inherits that cannot be ended.
#[test]
fn a_runtime_is_called_with_no_signal_blocked() {
    each(this_test!(), |world, options| {
        let log = world.path("masks");
        let runtime = world.path("runtime");
        let (name, log_path) = (options[1], log.display());
        let wrapper = format!(
            "#!/bin/sh\n\
                 for word; do case $word in run|state|delete|--version)\n\
                 echo $word $(grep SigBlk /proc/self/status) >>{log_path};; esac; done\n\
                 exec {name} \"$@\"\n"
        );
        fs::write(&runtime, wrapper).unwrap();
        fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
        let runtime = runtime.display().to_string();
        succeed(&mut script(world, &["--runtime", &runtime], "true"));
        let masks = fs::read_to_string(&log).unwrap();
        for call in ["--version", "run", "state", "delete"] {
            let mut calls = masks.lines().filter(|line| line.starts_with(call));
            let mask = calls.next().unwrap_or_else(|| panic!("no {call}: {masks}"));
            assert!(mask.ends_with(" 0000000000000000"), "{mask}");
        }
    });
}

#[test]
fn a_runtime_that_cannot_start_the_container_gives_125() {
    each(this_test!(), |world, options| {
        let options = with(options, &["--workdir", "/etc/text"]);
        let output = script(world, &options, "true").output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    });
}

#[test]
fn signals_end_a_container_or_reach_its_handler() {
    each(this_test!(), |world, options| {
        let mark = world.path("").display().to_string();
        for (text, signal, status) in [
            ("echo ready; read line", Signal::TERM, 143),
            ("echo ready; read line", Signal::INT, 130),
            (
                "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done",
                Signal::TERM,
                7,
            ),
        ] {
            let text = format!(": {mark}; {text}");
            let mut running = Background::start(&mut script(world, options, &text), &mark);
            running.wait_for_line("ready");
            wait_until_known(world);
            kill_process(running.pid(), signal).unwrap();
            assert_eq!(running.end().code(), Some(status), "{text}");
            running.assert_all_gone();
            assert_eq!(cgroups_of(running.child.id()), "");
        }
    });
}

/// Waits until plyfs has heard of the container's first process from the runtime.
fn wait_until_known(world: &World) {
    let start = Instant::now();
    loop {
        let names = world.names("live");
        let mut records = names.iter().filter_map(|name| {
            let path = world.store("live").join(name);
            fs::read_to_string(path.join("record.json"))
                .or_else(|_| fs::read_to_string(path))
                .ok()
        });
        if records.any(|record| record.contains("ociVersion")) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{names:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn options_hold() {
    each(this_test!(), |world, options| {
        assert_eq!(said(world, options, "id -u; id -g"), "0\n0\n");
        fs::create_dir(world.path("shared")).unwrap();
        fs::write(world.path("shared/f"), "of the machine\n").unwrap();
        let volume = format!("{}:/srv", world.path("shared").display());
        let text = "cat /srv/f; echo new >/srv/g";
        assert_eq!(
            said(world, &with(options, &["-v", &volume]), text),
            "of the machine\n"
        );
        assert_eq!(fs::read_to_string(world.path("shared/g")).unwrap(), "new\n");
        let read_only = format!("{volume}:ro");
        let text = "! echo 2>/dev/null >/srv/h";
        assert_eq!(said(world, &with(options, &["-v", &read_only]), text), "");
        let capabilities = |more: &[&str]| {
            let text = "grep CapEff /proc/self/status";
            let line = said(world, &with(options, more), text);
            let value = line.split_whitespace().nth(1).unwrap();
            u64::from_str_radix(value, 16).unwrap()
        };
        assert_eq!(capabilities(&[]) & 1, 1);
        assert_eq!(capabilities(&["--cap-drop", "CHOWN"]) & 1, 0);
        let text = "hostname; [ $container = plyfs ]; pwd; umask";
        let more = ["--hostname", "nora", "-w", "/made"];
        assert_eq!(
            said(world, &with(options, &more), text),
            "nora\n/made\n0022\n"
        );
        let text = "grep -c '^Seccomp:.*2' /proc/self/status";
        assert_eq!(said(world, options, text), "1\n");
    });
}

/// A device of an image does not open: the root is nodev, also when it is read-only.
#[test]
fn the_root_keeps_its_restrictions() {
    each(this_test!(), |world, options| {
        let root = "while read -r a b c d at how rest; do [ $at = / ] && echo $how; done \
            </proc/self/mountinfo; echo x 2>/dev/null >/new && echo written";
        let inside = |more: &[&str]| said(world, more, &format!("{root} || :"));
        for more in [&[][..], &["--read-only"], &["--ro"]] {
            assert_eq!(inside(&with(options, more)), inside(more), "{more:?}");
        }
        assert!(inside(&with(options, &["--read-only"])).starts_with("ro,nodev"));
    });
}

/// What libseccomp makes of a rule for socket(2) lets programs of 32 bits have any family of sockets.
#[test]
fn programs_of_32_bits_do_not_get_around_the_filter() {
    each(this_test!(), |world, options| {
        if std::env::consts::ARCH != "x86_64" {
            return;
        }
        fs::write(world.path("small"), exits_with_success()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(world.path("small"), mode).unwrap();
        if Command::new(world.path("small")).status().is_err() {
            return;
        }
        let volume = format!("{}:/small", world.path("small").display());
        assert_eq!(said(world, &["-v", &volume], "/small"), "");
        let text = "/small 2>/dev/null; [ $? != 0 ]";
        assert_eq!(said(world, &with(options, &["-v", &volume]), text), "");
    });
}

/// A program for i386 that only calls exit(0).
fn exits_with_success() -> Vec<u8> {
    const AT: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    // mov eax, 1; xor ebx, ebx; int 0x80
    let code = [0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80];
    let size = HEADERS + u32::try_from(code.len()).unwrap();
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2, 0, 3, 0]);
    for word in [1, AT + HEADERS, 52, 0, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    for word in [1, 0, AT, AT, size, size, 5, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[test]
fn a_container_has_a_terminal() {
    const PTY: &str = "import os, pty, sys\n\
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    each(this_test!(), |world, options| {
        let text = "[ -t 0 ] && [ -t 1 ] && tty && echo here >/dev/tty; exit 5";
        let run = script(world, &with(options, &["-t"]), text);
        let mut command = Command::new("python3");
        command
            .args(["-c", PTY])
            .arg(run.get_program())
            .args(run.get_args());
        for (name, value) in run.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let output = command.output().unwrap();
        let stdout = crate::support::text(&output.stdout);
        assert!(
            stdout.contains("/dev/") && stdout.contains("here"),
            "{output:?}"
        );
        assert_eq!(output.status.code(), Some(5), "{output:?}");
    });
}

#[test]
fn exec_and_stop_reach_the_container() {
    each(this_test!(), |world, options| {
        let mark = world.path("").display().to_string();
        let text = format!("trap 'exit 9' TERM; : {mark}; echo ready; while :; do sleep 0.1; done");
        let options = with(options, &["--name", "one"]);
        let mut running = Background::start(&mut script(world, &options, &text), &mark);
        running.wait_for_line("ready");
        wait_until_known(world);
        let inside = "cat /proc/1/comm; id -u; hostname; grep -c '^Seccomp:.*2' /proc/self/status";
        let mut exec = world.plyfs(["exec", "one", "sh", "-c", inside]);
        assert_eq!(succeed(&mut exec), "sh\n0\none\n1\n");
        succeed(&mut world.plyfs(["stop", "one"]));
        assert_eq!(running.end().code(), Some(9));
        running.assert_all_gone();
    });
}

/// Places to mount on are no changes of the container.
#[test]
fn a_kept_container_has_its_own_changes_alone() {
    each(this_test!(), |world, options| {
        let options = with(
            options,
            &["--container", "kept", "-v", "/etc:/no/such/place"],
        );
        assert_eq!(said(world, &options, "echo new >/tmp/f"), "");
        let changes = succeed(&mut world.plyfs(["diff", "kept"]));
        let added: Vec<&str> = changes
            .lines()
            .filter(|line| !line.starts_with('C'))
            .collect();
        assert_eq!(added, ["A /tmp/f"], "{changes}");
        succeed(&mut world.plyfs(["rm", "kept"]));
    });
}

/// Whether the caller is an ordinary user with subordinate ids, who can keep the own id in a container.
fn keeps_ids() -> bool {
    let map = succeed(&mut plyfs(["unshare", "cat", "/proc/self/uid_map"]));
    !rustix::process::geteuid().is_root() && map.lines().count() > 1
}

/// The container is no child of plyfs, but ends with it.
#[test]
fn a_killed_run_leaves_nothing() {
    each(this_test!(), |world, options| {
        let mark = world.path("").display().to_string();
        let text =
            format!(": {mark}; sh -c ': {mark}; while :; do sleep 1; done' & echo ready; wait");
        let mut ways = vec![(true, options.to_vec()), (false, options.to_vec())];
        if keeps_ids() {
            ways.push((true, with(options, &["--userns", "keep-id"])));
        }
        for (wait, options) in ways {
            let mut running = Background::start(&mut script(world, &options, &text), &mark);
            running.wait_for_line("ready");
            if wait {
                wait_until_known(world);
            }
            let id = running.child.id();
            running.child.kill().unwrap();
            running.child.wait().unwrap();
            running.assert_all_gone();
            let start = Instant::now();
            while !cgroups_of(id).is_empty() {
                assert!(
                    start.elapsed() < Duration::from_secs(10),
                    "{}",
                    cgroups_of(id)
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            // The next one cleans up, when the last of its processes has let go of its locks.
            while !world.names("staging").is_empty() {
                assert!(start.elapsed() < Duration::from_secs(10));
                said(world, &[], "true");
            }
        }
    });
}

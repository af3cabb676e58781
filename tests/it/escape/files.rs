//! Files of the image that plyfs reads, and files that it provides.

use plyfs_store::fixture::{Config, Entry, Layer};

use super::cell::*;
use crate::support::*;

/// CVE-2024-9676: lists of users that have no end, or no beginning. As little memory is
/// used as a small limit allows.
#[test]
fn lists_of_users_that_are_no_files_are_refused() {
    let test = this_test!();
    let images = |_: &_| {
        let zero = || Entry::char_device("zero", 1, 5).mode(0o666);
        let layer = |entries: Vec<Entry>| Layer::new(entries);
        let config = Config::default;
        vec![
            (
                "fifo",
                layer(vec![Entry::fifo("etc/passwd").mode(0o666)]),
                config(),
            ),
            (
                "group",
                layer(vec![Entry::fifo("etc/group").mode(0o666)]),
                config(),
            ),
            (
                "device",
                layer(vec![zero(), Entry::symlink("etc/passwd", "/zero")]),
                config(),
            ),
            (
                "dir",
                layer(vec![
                    Entry::whiteout("etc/passwd"),
                    Entry::dir("etc/passwd"),
                ]),
                config(),
            ),
            (
                "loop",
                layer(vec![Entry::symlink("etc/passwd", "passwd")]),
                config(),
            ),
            (
                "link",
                layer(vec![Entry::symlink("etc/passwd", "/proc/self/fd/0")]),
                config(),
            ),
            (
                "endless",
                layer(vec![Entry::symlink("etc/passwd", "/dev/zero")]),
                config(),
            ),
            ("box", layer(vec![]), config()),
        ]
    };
    each(test, images, |cell| {
        let limited = |image: &str, options: &[&str]| {
            let command = cell.command(image, options, &["bash", "-c", "echo in"]);
            let mut limited = std::process::Command::new("bash");
            limited.args(["-c", "ulimit -v 4000000; exec \"$@\"", "bash"]);
            finish(limited.arg(command.get_program()).args(command.get_args()))
        };
        for image in ["fifo", "group", "device", "dir", "loop"] {
            if image == "device" && !cell.can_have_devices() {
                continue;
            }
            let line = limited(image, &[]).refused();
            assert!(line.contains("/etc/"), "{image}: {line}");
        }
        // At a place where the image has nothing there is no list, and root is root.
        for image in ["link", "endless"] {
            assert_eq!(limited(image, &[]).ok(), "in\n", "{image}");
            limited(image, &["-u", "joe"]).refused();
        }
        // One that is sparse and larger than any memory.
        let name = format!("large-{}", cell.backend);
        let container = ["--container", &name];
        cell.run(
            &container,
            &["probe", "truncate", "/etc/passwd", "8000000000000"],
        )
        .ok();
        let line = limited("box", &container).refused();
        assert!(line.contains("larger than"), "{line}");
        succeed(&mut cell.world.plyfs(["rm", &name]));
    });
}

/// The same lists in a container that runs, and that changed them.
#[test]
fn exec_refuses_lists_of_users_that_are_no_files() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        for target in ["/dev/zero", "/proc/self/fd/0", "/tmp"] {
            // Not by bash, which reads the list itself.
            cell.exec(&[], &["probe", "unlink", "/etc/passwd"]).ok();
            cell.exec(&[], &["probe", "symlink", target, "/etc/passwd"])
                .ok();
            cell.exec(&["-u", "joe"], &["probe", "list", "/"]).refused();
        }
        // Without a user to look for none is read.
        cell.exec(&[], &["probe", "list", "/"]).ok();
        running.stop();
    });
}

/// CVE-2024-40635, CVE-2026-46680, CVE-2026-30892: users that end as root though they are not.
#[test]
fn cve_2024_40635_no_number_becomes_root() {
    let test = this_test!();
    let images = |_: &_| {
        let config = Config {
            user: "4294967295".into(),
            ..Config::default()
        };
        let passwd = "root:x:0:0::/:/bin/bash\n1000:x:0:0::/:/bin/bash\n\
                      4294967296:x:0:0::/:/bin/bash\nbig:x:4294967295:4294967295::/:/bin/bash\n";
        let layer = Layer::new([Entry::file("etc/passwd", passwd)]);
        vec![
            ("box", layer.clone(), Config::default()),
            ("big", layer, config),
        ]
    };
    each(test, images, |cell| {
        let words = ["bash", "-c", "echo $UID"];
        finish(&mut cell.command("big", &[], &words)).refused();
        for user in [
            "4294967295",
            "2147483648",
            "4294967296",
            "0:4294967295",
            "big",
            "-1",
            "+1",
            "0x0",
            " 0",
        ] {
            cell.run(&["-u", user], &words).refused();
        }
        let running = cell.idle(&[]);
        for user in ["4294967295", "2147483648", "0:4294967295", "big"] {
            cell.exec(&["-u", user], &words).refused();
        }
        // A number is no name.
        let by_number = [
            cell.run(&["-u", "1000"], &words),
            cell.run(&["-u", "1000:"], &words),
            cell.exec(&["-u", "1000"], &words),
            cell.exec(&["-u", "1000:1000"], &words),
        ];
        running.stop();
        for said in by_number {
            match has_ids() {
                true => assert_eq!(said.ok(), "1000\n"),
                false => drop(said.refused()),
            }
        }
    });
}

/// Names can be resolved, and what a container writes there is its own.
#[test]
fn network_files_are_provided_and_are_copies() {
    each_plain(this_test!(), |cell| {
        let options = ["--hostname", "cell", "--add-host", "db:10.0.0.1"];
        let read = |path: &str| {
            let script = format!("[[ -e {path} ]] && printf %s \"$(<{path})\"");
            cell.script(&options, &script).out
        };
        let machine = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(read("/etc/resolv.conf"), machine.trim_end_matches('\n'));
        assert_eq!(read("/etc/hostname"), "cell");
        let hosts = read("/etc/hosts");
        assert!(
            hosts.contains("10.0.0.1\tdb") && hosts.contains("\tcell"),
            "{hosts}"
        );
        for options in [&[][..], &["-u", "0"], &["--cap-add", "ALL"]] {
            let script = "for f in resolv.conf hosts hostname; do probe write /etc/$f; probe chmod /etc/$f 666; \
                          probe unlink /etc/$f; done";
            cell.script(options, script);
            // What the next container has is not what this one wrote.
            let again = cell.script(&[], "! [[ $(</etc/hosts) == *inside* ]]");
            again.ok();
        }
    });
}

/// CVE-2025-24965 and CVE-2024-9341 of other programs: links of the image where plyfs provides
/// files.
#[test]
fn links_in_place_of_network_files_lead_nowhere_outside() {
    let test = this_test!();
    let images = |world: &_| {
        let outside = support_outside(world);
        let canary = format!("{outside}/canary");
        let up = format!("../../../../../../../../..{outside}/new");
        let layer = |to: [&str; 3]| {
            let places = ["etc/resolv.conf", "etc/hosts", "etc/hostname"];
            Layer::new(
                places
                    .iter()
                    .zip(to)
                    .map(|(place, to)| Entry::symlink(place, to)),
            )
        };
        let absent = format!("{outside}/absent/new");
        let through = Layer::new([Entry::whiteout("etc"), Entry::symlink("etc", &outside)]);
        vec![
            (
                "absolute",
                layer([&canary, &absent, &canary]),
                Config::default(),
            ),
            ("upward", layer([&up, &up, &up]), Config::default()),
            (
                "proc",
                layer([
                    "/proc/self/fd/3",
                    "/proc/self/exe",
                    "/proc/sys/kernel/hostname",
                ]),
                Config::default(),
            ),
            (
                "circle",
                layer(["hosts", "resolv.conf", "."]),
                Config::default(),
            ),
            ("through", through, Config::default()),
        ]
    };
    each(test, images, |cell| {
        for image in ["absolute", "upward", "proc", "circle", "through"] {
            let script = "for f in resolv.conf hosts hostname; do probe write /etc/$f; done";
            let said = finish(&mut cell.command(image, &[], &["bash", "-c", script]));
            assert!([0, 125].contains(&said.status), "{image}: {said:?}");
            cell.assert_nothing_happened();
        }
    });
}

fn support_outside(world: &crate::support::world::World) -> String {
    world.path("outside").display().to_string()
}

/// CVE-2019-14271, CVE-2026-41567: libraries and programs of an image are not executed outside of it.
#[test]
fn cve_2019_14271_nothing_of_the_image_is_loaded_outside() {
    let test = this_test!();
    let Ok(probe) = probe() else {
        return skip(test, "there is no cc to build a hostile library");
    };
    let images = |world: &_| {
        let outside = support_outside(world);
        let script = format!("#!/bin/bash\necho executed >>{outside}/canary\n");
        let mut layer = Layer::new([
            Entry::file("etc/nsswitch.conf", "passwd: evil\ngroup: evil\n"),
            Entry::file("etc/ld.so.preload", "/lib/libnss_evil.so.2\n"),
            Entry::dir("lib"),
            Entry::dir("usr"),
            Entry::dir("usr/bin"),
        ]);
        for name in ["evil", "files", "compat", "systemd"] {
            let path = format!("lib/libnss_{name}.so.2");
            layer.push(Entry::file(path, &probe.library).mode(0o755));
        }
        for name in [
            "newuidmap",
            "newgidmap",
            "fusermount3",
            "mount",
            "umount",
            "xz",
            "unpigz",
            "zstd",
        ] {
            layer.push(Entry::file(format!("usr/bin/{name}"), &script).mode(0o755));
        }
        vec![("box", layer, Config::default())]
    };
    each(test, images, |cell| {
        let user = if has_ids() { "joe" } else { "root" };
        let without_home = |command: &mut std::process::Command| {
            finish(
                command
                    .env_remove("HOME")
                    .env_remove("USER")
                    .env_remove("LOGNAME"),
            )
        };
        let words = ["bash", "-c", "echo in"];
        let said = without_home(&mut cell.command("box", &["-u", user], &words));
        assert_eq!((said.out.as_str(), said.status), ("in\n", 0), "{said:?}");
        let running = cell.idle(&[]);
        let mut exec = cell
            .world
            .plyfs(["exec", "-u", user, "c", "bash", "-c", "echo in"]);
        let said = without_home(&mut exec);
        assert_eq!((said.out.as_str(), said.status), ("in\n", 0), "{said:?}");
        running.stop();
    });
}

/// CVE-2022-23648: a volume of the image's configuration is a path in the image. plyfs makes no volumes for
/// them, and copies nothing.
#[test]
fn cve_2022_23648_volumes_of_an_image_copy_nothing() {
    let test = this_test!();
    let images = |world: &_| {
        let outside = support_outside(world);
        let layer = Layer::new([Entry::symlink("v", &outside)]);
        let config = Config {
            volumes: vec![
                format!("/../../../../../../..{outside}"),
                "/v".into(),
                "/proc/self/cwd".into(),
            ],
            ..Config::default()
        };
        vec![("box", layer, config)]
    };
    each(test, images, |cell| {
        let script = format!(
            "[[ ! -e {0}/canary && ! -e /v/canary ]]",
            cell.outside().display()
        );
        cell.script(&[], &script).ok();
    });
}

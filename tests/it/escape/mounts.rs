//! Places of mounts that an image or another container makes lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;

use plyfs_store::fixture::{Config, Entry, Layer};

use super::cell::*;
use crate::support::*;

fn replaced(place: &str, to: &str) -> Layer {
    Layer::new([Entry::whiteout(place), Entry::symlink(place, to)])
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2026-41579: /proc, /sys or /dev of the image is a link.
#[test]
fn cve_2019_19921_system_directories_are_no_links() {
    let test = this_test!();
    let images = |world: &crate::support::world::World| {
        let outside = world.path("outside").display().to_string();
        let up = format!("../../../../../../../..{outside}");
        let image = |name, place, to: &str| (name, replaced(place, to), Config::default());
        vec![
            image("proc", "proc", "/tmp"),
            image("proc-out", "proc", &outside),
            image("sys", "sys", "."),
            image("dev", "dev", &outside),
            image("dev-up", "dev", &up),
            image("dev-proc", "dev", "/proc/self/cwd"),
        ]
    };
    each(test, images, |cell| {
        for image in ["proc", "proc-out", "sys", "dev", "dev-up", "dev-proc"] {
            let mut command = cell.command(image, &[], &["bash", "-c", "echo in"]);
            let line = finish(&mut command).refused();
            assert!(line.contains("is no directory in this image"), "{line}");
            finish(&mut cell.command(image, &["-t"], &["probe", "list", "/"])).refused();
            cell.assert_nothing_happened();
        }
    });
}

/// CVE-2019-16884, CVE-2025-52881: what the caller mounts inside /proc would take the place of what the
/// runtime writes there.
#[test]
fn cve_2019_16884_nothing_is_mounted_inside_proc() {
    let test = this_test!();
    let linked = || {
        Layer::new([
            Entry::symlink("link", "/proc/sys"),
            Entry::symlink("attr", "/proc/self/attr"),
        ])
    };
    each(
        test,
        |_| vec![("box", linked(), Config::default())],
        |cell| {
            let shared = cell.outside();
            for place in [
                "/proc",
                "//proc",
                "/./proc",
                "/proc/sys",
                "/proc/self/attr",
                "/proc/self",
                "/link",
                "/attr/x",
            ] {
                let volume = volume(&shared, place);
                cell.run(&["-v", &volume], &["bash", "-c", "echo in"])
                    .refused();
            }
            for place in ["/proc", "/proc/sys", "/link"] {
                let tmpfs = format!("{place}:{MARKED_SIZE}");
                cell.run(&["--tmpfs", &tmpfs], &["bash", "-c", "echo in"])
                    .refused();
            }
            let mount = format!("type=bind,src={},dst=/proc/self/fd", shared.display());
            cell.run(&["--mount", &mount], &["bash", "-c", "echo in"])
                .refused();
        },
    );
}

/// A link of the image to its root, as the place of a mount: the whole container would be what is mounted.
#[test]
fn nothing_is_mounted_over_the_root() {
    let test = this_test!();
    let links = [
        ("absolute", "/"),
        ("here", "."),
        ("up", "../.."),
        ("round", "etc/.."),
        ("deep", "/dir/up"),
    ];
    let images = |_: &_| {
        let linked = links.map(|(name, to)| Entry::symlink(name, to));
        let more = [Entry::dir("dir"), Entry::symlink("dir/up", "..")];
        vec![(
            "box",
            Layer::new(linked.into_iter().chain(more)),
            Config::default(),
        )]
    };
    each(test, images, |cell| {
        let shared = cell.outside();
        for (name, _) in links {
            let place = format!("/{name}");
            let bind = volume(&shared, &place);
            let tmpfs = format!("{place}:{MARKED_SIZE}");
            let mount = format!("type=bind,src={},dst={place}", shared.display());
            for options in [["-v", &bind], ["--tmpfs", &tmpfs], ["--mount", &mount]] {
                let line = cell.run(&options, &["bash", "-c", "echo in"]).refused();
                assert!(line.contains("root of the container"), "{line}");
            }
            // Below the root a link is followed.
            let bind = volume(&shared, &format!("{place}/new"));
            cell.script(&["-v", &bind], "[[ -e /new/canary ]]").ok();
        }
    });
}

/// A link of the image that leads into /dev, /sys or /proc, as the place of a mount: a device that programs
/// rely on would be a file, or be covered.
#[test]
fn links_do_not_lead_mounts_to_system_directories() {
    let test = this_test!();
    let links = [
        ("null", "/dev/null"),
        ("new", "/dev/new"),
        ("devices", "dev"),
        ("shm", "dev/shm"),
        ("up", "../../dev/../dev/zero"),
        ("cgroups", "/sys/fs"),
        ("chain", "null"),
    ];
    let images = |_: &_| {
        let linked = links.map(|(name, to)| Entry::symlink(name, to));
        let files = ["hosts", "hostname", "resolv.conf"];
        let layer = |to: [&str; 3]| {
            let files = files.iter().zip(to);
            Layer::new(files.map(|(name, to)| Entry::symlink(format!("etc/{name}"), to)))
        };
        vec![
            ("box", Layer::new(linked), Config::default()),
            (
                "null",
                layer(["/dev/null", "../dev/null", "/dev/zero"]),
                Config::default(),
            ),
            (
                "new",
                layer(["/dev/new", "/dev/shm/x", "/sys/x"]),
                Config::default(),
            ),
        ]
    };
    let devices = "for d in null zero full random urandom tty; do [[ -c /dev/$d ]] || echo $d; done; \
                   echo text >/dev/null; [[ -z $(</dev/null) && ! -e /dev/new && ! -e /dev/shm/x ]] || echo new";
    each(test, images, |cell| {
        // What plyfs provides by itself is left out, with a warning.
        for image in ["null", "new"] {
            let said = finish(&mut cell.command(image, &[], &["bash", "-c", devices]));
            assert_eq!((said.status, said.out.as_str()), (0, ""), "{said:?}");
            assert_eq!(said.err.lines().count(), 3, "{said:?}");
        }
        let given = cell.world.path(&format!("given-{}", cell.backend));
        fs::create_dir_all(given.join("dir")).unwrap();
        fs::write(given.join("file"), "text").unwrap();
        for (name, _) in links {
            for source in ["file", "dir"] {
                let volume = volume(&given.join(source), &format!("/{name}"));
                let said = cell.run(&["-v", &volume], &["bash", "-c", devices]);
                said.refused();
            }
        }
        // By its own name it is what the caller asked for.
        let volume = volume(&given.join("file"), "/dev/given");
        let said = cell.script(&["-v", &volume], "echo $(</dev/given)");
        assert_eq!(said.ok(), "text\n");
        assert_eq!(fs::read(given.join("file")).unwrap(), b"text");
    });
}

/// CVE-2021-30465, CVE-2024-45310: a container that shares a directory exchanges the place of a mount for a
/// link while another one starts. Bounded: the exchange takes place some hundred thousand times a second.
#[test]
fn cve_2021_30465_a_place_that_changes_does_not_lead_outside() {
    let test = this_test!();
    each_plain(test, |cell| {
        let shared = cell.world.path(&format!("shared-{}", cell.backend));
        fs::create_dir_all(shared.join("a/x")).unwrap();
        // Where the link leads there are the same names.
        symlink(cell.outside(), shared.join("b")).unwrap();
        let at_m = volume(&shared, "/m");
        let mut running = cell.start(&["-v", &at_m], &["probe", "swap", "/m/a", "/m/b"]);
        running.wait_for("ready");
        let given = cell.world.path("given");
        fs::create_dir_all(&given).unwrap();
        let shallow = volume(&given, "/m/a");
        let deep = volume(&given, "/m/a/new/deep");
        let tmpfs = format!("/m/a/b:{MARKED_SIZE}");
        let seen = format!("[[ ! -e {}/canary ]]", cell.outside().display());
        for _ in 0..3 {
            for mounted in [["-v", &shallow], ["-v", &deep], ["--tmpfs", &tmpfs]] {
                let options = ["-v", &at_m, mounted[0], mounted[1]];
                let said = cell.script(&options, &seen);
                assert!([0, 125].contains(&said.status), "{said:?}");
            }
        }
        assert_eq!(running.end(), Some(0));
        // What was made is in the shared directory.
        cell.assert_nothing_happened();
    });
}

/// CVE-2025-31133, CVE-2026-88264: /dev of the container is one that others write to, and what the runtime
/// covers files with, or makes there, is a link.
#[test]
fn cve_2025_31133_devices_are_not_taken_from_the_container() {
    let test = this_test!();
    let null = || {
        Layer::new([
            Entry::symlink("dev/null", "/proc/sys/kernel/core_pattern"),
            Entry::symlink("dev/console", "/proc/sys/kernel/core_pattern"),
        ])
    };
    each(
        test,
        |_| vec![("box", null(), Config::default())],
        |cell| {
            let masked = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
                      [[ ! -e $f || -z $(<$f) ]] || exit 1; done; \
                      ! probe write /proc/sys/kernel/core_pattern | { read -r _ r; [[ $r == ok ]]; }; ";
            cell.script(&[], masked).ok();
            cell.script(&[], "[[ -c /dev/null && ! -L /dev/null ]]")
                .ok();
            let dev = cell.world.path(&format!("dev-{}", cell.backend));
            fs::create_dir(&dev).unwrap();
            for (name, target) in [
                ("null", "/proc/sys/kernel/core_pattern".to_owned()),
                ("zero", cell.outside().join("canary").display().to_string()),
                ("full", cell.outside().join("new").display().to_string()),
                ("console", cell.outside().join("new").display().to_string()),
                ("ptmx", cell.outside().join("ptmx").display().to_string()),
                ("pts", cell.outside().display().to_string()),
                ("shm", cell.outside().display().to_string()),
            ] {
                symlink(target, dev.join(name)).unwrap();
            }
            let at_dev = volume(&dev, "/dev");
            for options in [
                &["-v", &at_dev][..],
                &["-v", &at_dev, "-t"],
                &["-v", &at_dev, "-t", "--init"],
            ] {
                let said = cell.script(options, masked);
                assert!([0, 1, 125].contains(&said.status), "{said:?}");
                cell.assert_nothing_happened();
            }
        },
    );
}

/// CVE-2026-88264: the same while another container exchanges what is there. The mode of a device is not
/// set by its name.
#[test]
fn cve_2026_88264_devices_that_change_are_not_followed() {
    let test = this_test!();
    each_plain(test, |cell| {
        let dev = cell.world.path(&format!("dev-{}", cell.backend));
        fs::create_dir(&dev).unwrap();
        symlink(cell.outside().join("canary"), dev.join("link")).unwrap();
        let at_m = volume(&dev, "/m");
        let at_dev = volume(&dev, "/dev");
        let mut running = cell.start(&["-v", &at_m], &["probe", "swap", "/m/null", "/m/link"]);
        running.wait_for("ready");
        for _ in 0..6 {
            let said = cell.run(&["-v", &at_dev], &["probe", "list", "/dev"]);
            assert!([0, 125].contains(&said.status), "{said:?}");
            for name in ["null", "zero", "full", "random", "urandom", "tty"] {
                drop(fs::remove_file(dev.join(name)));
            }
            // It was exchanged, or removed under its other name.
            drop(fs::remove_file(dev.join("link")));
            symlink(cell.outside().join("canary"), dev.join("link")).unwrap();
        }
        assert_eq!(running.end(), Some(0));
    });
}

/// CVE-2025-52565: a terminal is opened where another container put something else.
#[test]
fn cve_2025_52565_a_terminal_is_one_of_devpts() {
    let test = this_test!();
    each_plain(test, |cell| {
        let pts = cell.world.path(&format!("pts-{}", cell.backend));
        fs::create_dir(&pts).unwrap();
        symlink(cell.outside().join("ptmx"), pts.join("ptmx")).unwrap();
        symlink(cell.outside().join("canary"), pts.join("0")).unwrap();
        let at_pts = volume(&pts, "/dev/pts");
        cell.run(&["-t", "-v", &at_pts], &["bash", "-c", "echo in"])
            .refused();
        fs::remove_file(pts.join("ptmx")).unwrap();
        fs::write(pts.join("ptmx"), "").unwrap();
        let line = cell
            .run(&["-t", "-v", &at_pts], &["bash", "-c", "echo in"])
            .refused();
        assert!(line.contains("not that of a devpts"), "{line}");
        // A container that runs, and has taken its own away.
        let running = cell.idle(&[]);
        let script = "probe unlink /dev/ptmx; probe symlink /etc/passwd /dev/ptmx; probe unlink /dev/console; \
                      probe symlink /etc/passwd /dev/console";
        cell.exec(&[], &["bash", "-c", script]).ok();
        let said = cell.exec(&["-t"], &["probe", "tty"]);
        assert_eq!(said.out.trim_end(), "/dev/pts/0", "{said:?}");
        running.stop();
    });
}

/// CVE-2024-23652 (of BuildKit): what was made to mount on is removed afterwards, and a container has made
/// the way to it a link. Of CVE-2024-23651 (a mount's source below a cache that others change) there is the
/// race of CVE-2021-30465 alone, since sources are paths of the caller; of CVE-2024-23653 nothing, since
/// there is no interface to ask for privileges.
#[test]
fn cve_2024_23652_places_are_removed_inside_only() {
    let test = this_test!();
    each_plain(test, |cell| {
        let name = format!("kept-{}", cell.backend);
        let outside = cell.outside().display().to_string();
        let empty = cell.world.path("empty");
        fs::create_dir_all(&empty).unwrap();
        let at = volume(&empty, "/a/b/c");
        // The same names are outside, and empty.
        let script = format!("probe rename /a /moved; probe symlink {outside} /a");
        cell.run(&["--container", &name, "-v", &at], &["bash", "-c", &script])
            .ok();
        cell.assert_nothing_happened();
        succeed(&mut cell.world.plyfs(["rm", &name]));
    });
}

/// CVE-2023-25809, CVE-2022-0492: control groups of the machine cannot be written to.
#[test]
fn cve_2023_25809_control_groups_are_read_only() {
    let test = this_test!();
    each_plain(test, |cell| {
        let script = "shopt -s nullglob globstar; dirs=(/sys/fs/cgroup /sys/fs/cgroup/*/); \
                      for d in \"${dirs[@]:0:40}\"; do probe mkdir $d/plyfs-escape; done; \
                      for f in /sys/fs/cgroup/{cgroup.procs,release_agent,notify_on_release,*/release_agent}; do \
                      probe open $f w; done; probe mkdir /sys/kernel/x; probe write /sys/kernel/uevent_helper; \
                      [[ $(probe readlink /proc/self/ns/cgroup) != \"$0\" ]]";
        let own = fs::read_link("/proc/self/ns/cgroup")
            .unwrap()
            .display()
            .to_string();
        let network: [&[&str]; 2] = [&[], &["--network", "none"]];
        for options in network {
            let said = cell.run(options, &["bash", "-c", script, &own]).ok();
            assert!(
                !said.lines().any(|line| line.ends_with(" ok")),
                "{options:?}: {said}"
            );
            assert!(said.contains("/sys/fs/cgroup"), "{said}");
        }
    });
}

/// Device nodes of a layer, of a volume, and those that a container makes.
#[test]
fn devices_of_an_image_or_volume_cannot_be_opened() {
    let test = this_test!();
    let images = |_: &_| {
        let layer = Layer::new([
            Entry::char_device("null", 1, 3).mode(0o666),
            Entry::char_device("mem", 1, 1).mode(0o666),
            Entry::block_device("disk", 7, 0).mode(0o666),
            Entry::block_device("dev/disk", 7, 0).mode(0o666),
        ]);
        vec![("box", layer, Config::default())]
    };
    each(test, images, |cell| {
        if !cell.can_have_devices() {
            return skip(
                &format!("{test} (kernel)"),
                "devices are records, which it does not read",
            );
        }
        let given = cell.world.path(&format!("given-{}", cell.backend));
        fs::create_dir(&given).unwrap();
        if is_root() {
            use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
            let mode = Mode::from_raw_mode(0o666);
            mknodat(
                CWD,
                given.join("null"),
                FileType::CharacterDevice,
                mode,
                makedev(1, 3),
            )
            .unwrap();
        }
        let at = volume(&given, "/given");
        let tmpfs = format!("/mine:{MARKED_SIZE}");
        let script = "for d in /null /mem /disk /dev/disk /given/null; do probe open $d rw; done; \
                      for m in /tmp /given /mine /dev/shm; do probe mknod $m/made 1 3; probe open $m/made w; done; \
                      for d in /tmp/made /given/made; do probe unlink $d >/dev/null; done";
        for options in [&[][..], &["--cap-add", "MKNOD"]] {
            let all = [options, &["-v", &at, "--tmpfs", &tmpfs]].concat();
            let said = cell.script(&all, script).ok();
            let opened = said
                .lines()
                .filter(|line| line.ends_with(" ok") && !line.contains("made"));
            assert_eq!(opened.count(), 0, "{said}");
            let mut made = said.lines().filter(|line| line.contains("made"));
            // Root may make them if the caller says so, but not open them.
            while let (Some(_), Some(open)) = (made.next(), made.next()) {
                assert!(!open.ends_with(" ok"), "{said}");
            }
        }
    });
}

/// Modes and owners of the container's devices are its own.
#[test]
fn changing_devices_inside_does_not_change_the_machine_s() {
    let test = this_test!();
    each_plain(test, |cell| {
        let script = "for n in null zero full random urandom tty; do probe chmod /dev/$n 600; \
                      probe chown /dev/$n 1; probe unlink /dev/$n; done";
        for options in [&[][..], &["--init"], &["-t"]] {
            cell.script(options, script);
            cell.assert_nothing_happened();
        }
    });
}

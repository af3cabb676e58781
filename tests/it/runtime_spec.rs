//! The areas in which opencontainers/runtime-tools (`validation/`) validates a runtime, as far as plyfs sets
//! them, in tests of our own: each names its area. Each runs by the runtime inside, and by crun and runc where
//! they are, which so say what is right.
//!
//! Not here, since plyfs sets nothing of them: control groups, hooks, sysctl, AppArmor and SELinux labels, the
//! OOM score, annotations, and the commands of a runtime (create, start, state, delete).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::shell::{script, world};
use crate::support::world::World;
use crate::support::*;

/// Does something with each runtime, in one store.
fn each(test: &str, body: impl Fn(&Container<'_>)) {
    let Some(world) = world(test) else { return };
    for runtime in [None, Some("crun"), Some("runc")] {
        if runtime.is_some_and(|runtime| !tools::has(runtime)) {
            continue;
        }
        body(&Container {
            world: &world,
            runtime,
        });
    }
}

struct Container<'w> {
    world: &'w World,
    runtime: Option<&'static str>,
}

impl Container<'_> {
    fn options<'o>(&self, options: &[&'o str]) -> Vec<&'o str> {
        let runtime = self.runtime.into_iter();
        let runtime = runtime.flat_map(|runtime| ["--runtime", runtime]);
        runtime.chain(options.iter().copied()).collect()
    }

    /// What a script prints that succeeds.
    #[track_caller]
    fn says(&self, options: &[&str], text: &str) -> String {
        succeed(&mut script(self.world, &self.options(options), text))
    }

    /// A script succeeds.
    #[track_caller]
    fn holds(&self, options: &[&str], text: &str) {
        self.says(options, text);
    }

    /// What the container is not started with.
    #[track_caller]
    fn refuses(&self, options: &[&str]) {
        let mut command = script(self.world, &self.options(options), "true");
        let output = command.output().unwrap();
        let code = output.status.code();
        assert!(!matches!(code, Some(0)), "{options:?} {:?}", self.runtime);
    }

    /// A field of /proc/self/status.
    #[track_caller]
    fn status(&self, options: &[&str], field: &str) -> String {
        let said = self.says(options, &format!("grep ^{field}: /proc/self/status"));
        said.split_once(':').unwrap().1.trim().to_owned()
    }

    /// The mounts, by place: their type, and their flags.
    fn mounts(&self, options: &[&str]) -> Vec<(String, String, String)> {
        let said = self.says(options, "cat /proc/self/mountinfo");
        let mounts = said.lines().map(|line| {
            let (mount, device) = line.split_once(" - ").unwrap();
            let words: Vec<&str> = mount.split(' ').collect();
            let kind = device.split(' ').next().unwrap();
            // Propagation comes after the flags.
            let flags = words[5..].join(" ");
            (words[4].to_owned(), kind.to_owned(), flags)
        });
        mounts.collect()
    }
}

/// Whether the container can have other ids than root's here.
fn has_ids(test: &str) -> bool {
    let map = succeed(&mut plyfs(["unshare", "cat", "/proc/self/uid_map"]));
    let has = map.lines().count() > 1 || map.split_whitespace().nth(2) != Some("1");
    if !has {
        skip(test, "this user has no subordinate ids");
    }
    has
}

/// Area `hostname`.
#[test]
fn hostname() {
    each(this_test!(), |container| {
        let said = container.says(&["--hostname", "nora.example"], "hostname; uname -n");
        assert_eq!(said, "nora.example\nnora.example\n");
    });
}

/// Area `process`: arguments, environment and working directory.
#[test]
fn process() {
    each(this_test!(), |container| {
        let mut command = container.world.plyfs(["run"]);
        command.args(container.options(&["-e", "A=b c", "-e", "EMPTY=", "-w", "/tmp"]));
        let text = "pwd; printf '<%s>' \"$A\" \"${EMPTY-unset}\" \"$0\" \"$@\"";
        command.args(["box:test", "sh", "-c", text, "zero", "", "a b", "*"]);
        assert_eq!(succeed(&mut command), "/tmp\n<b c><><zero><><a b><*>");
        // An absolute path, made if it is not there.
        assert_eq!(container.says(&["-w", "/a/b"], "pwd"), "/a/b\n");
    });
}

/// Area `process_user`: ids, further groups, and the file creation mask.
#[test]
fn process_user() {
    if !has_ids(this_test!()) {
        return;
    }
    each(this_test!(), |container| {
        let text = "id -u; id -g; id -G; umask; touch /tmp/f; stat -c %u:%g:%a /tmp/f";
        assert_eq!(
            container.says(&["-u", "7:8"], text),
            "7\n8\n8\n0022\n7:8:644\n"
        );
        let said = container.says(&["-u", "joe"], text);
        assert_eq!(said, "1000\n1001\n1001 50\n0022\n1000:1001:644\n");
        container.refuses(&["-u", "4294967295"]);
    });
}

/// Areas `process_capabilities` and `process_capabilities_fail`: the five sets, and names that do not exist.
#[test]
fn process_capabilities() {
    each(this_test!(), |container| {
        let sets = |options: &[&str]| {
            ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"]
                .map(|field| u64::from_str_radix(&container.status(options, field), 16).unwrap())
        };
        const CHOWN: u64 = 1;
        const KILL: u64 = 1 << 5;
        assert_eq!(sets(&["--cap-drop", "all"]), [0; 5]);
        let two = [
            "--cap-drop",
            "all",
            "--cap-add",
            "chown",
            "--cap-add",
            "CAP_KILL",
        ];
        assert_eq!(sets(&two), [CHOWN | KILL, CHOWN | KILL, CHOWN | KILL, 0, 0]);
        if has_ids("process_capabilities (another user)") {
            let mut two = two.to_vec();
            two.extend(["-u", "joe"]);
            assert_eq!(sets(&two), [CHOWN | KILL; 5]);
            assert_eq!(sets(&["-u", "joe"])[1..], [0; 4]);
        }
        container.refuses(&["--cap-add", "CAP_TEST"]);
    });
}

/// Areas `process_rlimits` and `process_rlimits_fail`.
#[test]
fn process_rlimits() {
    each(this_test!(), |container| {
        let options = [
            "--ulimit",
            "core=3000:4000",
            "--ulimit",
            "fsize=7000000000:8000000000",
            "--ulimit",
            "nofile=300:400",
            "--ulimit",
            "cpu=60:120",
            "--ulimit",
            "stack=900000:1000000",
        ];
        let said = container.says(&options, "cat /proc/self/limits");
        for (name, soft, hard) in [
            ("Max core file size", "3000", "4000"),
            ("Max file size", "7000000000", "8000000000"),
            ("Max open files", "300", "400"),
            ("Max cpu time", "60", "120"),
            ("Max stack size", "900000", "1000000"),
        ] {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            let values: Vec<&str> = line.unwrap().split_whitespace().collect();
            assert_eq!(values[..2], [soft, hard], "{name}");
        }
        container.refuses(&["--ulimit", "test=1"]);
        container.refuses(&["--ulimit", "nofile=2:1"]);
    });
}

/// Area `process`, `noNewPrivileges`.
#[test]
fn no_new_privileges() {
    each(this_test!(), |container| {
        assert_eq!(container.status(&[], "NoNewPrivs"), "0");
        let options = ["--security-opt", "no-new-privileges"];
        assert_eq!(container.status(&options, "NoNewPrivs"), "1");
    });
}

/// Area `root_readonly_true`.
#[test]
fn root_readonly() {
    each(this_test!(), |container| {
        let writes = "{ echo x >/new; } 2>/dev/null || { mkdir /etc/new; } 2>/dev/null";
        container.holds(&[], writes);
        container.holds(&["--read-only"], &format!("! {{ {writes}; }}"));
        // What is mounted on it is not of it.
        container.holds(
            &["--read-only", "--tmpfs", "/tmp"],
            "echo x >/tmp/f; echo x >/dev/shm/f",
        );
    });
}

/// Area `linux_masked_paths`: nothing can be read there, also of what is below another masked path.
#[test]
fn masked_paths() {
    each(this_test!(), |container| {
        for dir in ["masked/dir", "volume"] {
            fs::create_dir_all(container.world.path(dir)).unwrap();
        }
        fs::write(container.world.path("masked/dir/f"), "secret").unwrap();
        fs::write(container.world.path("masked/f"), "secret").unwrap();
        let volume = format!("{}:/srv", container.world.path("masked").display());
        let mut options = vec![
            "-v",
            &volume,
            "--security-opt",
            "mask=/srv/f:/srv/dir:/no/such/path",
        ];
        container.holds(
            &options,
            "[ -e /srv/f ] && [ -z \"$(cat /srv/f)\" ] && [ -z \"$(ls -A /srv/dir)\" ]",
        );
        options[3] = "mask=/srv:/srv/dir/f";
        container.holds(&options, "[ -z \"$(ls -A /srv)\" ]");
        // By default.
        let empty = "for path in /proc/kcore /proc/keys /proc/timer_list; do
            [ ! -e $path ] || [ $(head -c 1 $path | wc -c) = 0 ] || exit 1; done
            for path in /proc/acpi /proc/scsi /sys/firmware /sys/kernel /sys/dev/block; do
            [ -z \"$(ls -A $path 2>/dev/null)\" ] || exit 1; done";
        container.holds(&[], empty);
    });
}

/// Area `linux_readonly_paths`, with what plyfs makes read-only by default.
#[test]
fn readonly_paths() {
    each(this_test!(), |container| {
        let text =
            "for path in /proc/sys/kernel/hostname /proc/sys/vm/swappiness /proc/sysrq-trigger \
            /proc/irq/default_smp_affinity; do
            [ -e $path ] || continue; cat $path >/dev/null 2>&1
            { true >>$path; } 2>/dev/null && exit 1; done
            ! { true >/proc/fs/new; } 2>/dev/null && ! { mkdir /sys/fs/cgroup/new; } 2>/dev/null";
        container.holds(&[], text);
    });
}

/// Area `default`: the file systems that every container has.
#[test]
fn default_file_systems() {
    each(this_test!(), |container| {
        let mounts = container.mounts(&[]);
        for (place, kinds, restricted) in [
            ("/proc", &["proc"][..], true),
            ("/sys", &["sysfs"], true),
            ("/dev", &["tmpfs"], false),
            ("/dev/pts", &["devpts"], false),
            ("/dev/shm", &["tmpfs"], true),
        ] {
            let (_, kind, flags) = mounts.iter().find(|mount| mount.0 == place).unwrap();
            assert!(kinds.contains(&kind.as_str()), "{place}: {kind}");
            for flag in ["nosuid", "noexec"] {
                assert!(flags.contains(flag), "{place}: {flags}");
            }
            assert!(!restricted || flags.contains("nodev"), "{place}: {flags}");
        }
        container.holds(
            &[],
            "[ $(stat -c %a /dev/shm) = 1777 ] && [ $(stat -c %a /dev) = 755 ]",
        );
    });
}

/// Area `linux_devices`, the default ones, and the links of /dev.
#[test]
fn default_devices() {
    each(this_test!(), |container| {
        let text = "for name in null zero full random urandom tty; do
            stat -c '%n %F %t:%T %a' /dev/$name; done
            [ -c /dev/ptmx ] && echo ptmx; [ -e /dev/fuse ] || [ -e /dev/mem ] || echo no others
            for name in fd stdin stdout stderr; do readlink /dev/$name; done";
        let device =
            |name: &str, number: &str| format!("/dev/{name} character special file {number} 666\n");
        let expected = [
            device("null", "1:3"),
            device("zero", "1:5"),
            device("full", "1:7"),
            device("random", "1:8"),
            device("urandom", "1:9"),
            device("tty", "5:0"),
            "ptmx\nno others\n/proc/self/fd\n".into(),
            "/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n".into(),
        ];
        assert_eq!(container.says(&[], text), expected.concat());
        let works = "echo x >/dev/null && ! { echo x >/dev/full; } 2>/dev/null \
            && [ $(head -c 4 /dev/zero | od -An -t x1 | tr -d ' ') = 00000000 ] \
            && [ $(head -c 8 /dev/urandom | wc -c) = 8 ]";
        container.holds(&[], works);
    });
}

/// Area `mounts`: options and their order, recursive and not.
#[test]
fn mounts() {
    each(this_test!(), |container| {
        let source = container.world.path("source");
        fs::create_dir_all(source.join("below")).unwrap();
        fs::write(source.join("f"), "shared").unwrap();
        let source = source.display();
        let plain = format!("{source}:/mnt/plain");
        let restricted = format!("{source}:/mnt/restricted:ro,noexec,rslave");
        let inner = format!("{source}:/mnt/plain/below/inner:ro");
        // The inner one is named first and hides nothing.
        let options = [
            "-v",
            &inner,
            "-v",
            &plain,
            "-v",
            &restricted,
            "--tmpfs",
            "/mnt/memory:size=1m,mode=700,noexec",
            "--mount",
            "type=tmpfs,dst=/mnt/other,ro",
        ];
        let mounts = container.mounts(&options);
        let at = |place: &str| {
            let found: Vec<_> = mounts.iter().filter(|mount| mount.0 == place).collect();
            assert_eq!(found.len(), 1, "{place}: {mounts:?}");
            (found[0].1.clone(), found[0].2.clone())
        };
        assert!(at("/mnt/plain").1.starts_with("rw"));
        assert!(!at("/mnt/plain").1.contains("shared:"));
        let (_, flags) = at("/mnt/restricted");
        assert!(
            flags.starts_with("ro") && flags.contains("noexec"),
            "{flags}"
        );
        assert!(at("/mnt/plain/below/inner").1.starts_with("ro"));
        let (kind, flags) = at("/mnt/memory");
        assert!(
            kind == "tmpfs" && flags.contains("noexec") && flags.contains("nosuid"),
            "{flags}"
        );
        assert!(at("/mnt/other").1.starts_with("ro"));
        let text = "[ $(stat -c %a /mnt/memory) = 700 ] && [ $(cat /mnt/plain/f) = shared ] \
            && echo new >/mnt/plain/new && [ $(cat /mnt/restricted/new) = new ] \
            && ! { echo x >/mnt/restricted/x; } 2>/dev/null \
            && ! { head -c 2000000 /dev/zero >/mnt/memory/f; } 2>/dev/null";
        container.holds(&options, text);
        container.refuses(&["-v", "/no/such/source:/mnt/x"]);
    });
}

/// Area `linux_rootfs_propagation`: what is mounted in the container is not seen outside.
#[test]
fn rootfs_propagation() {
    each(this_test!(), |container| {
        let mounts = container.mounts(&[]);
        let (_, _, flags) = mounts.iter().find(|mount| mount.0 == "/").unwrap();
        assert!(!flags.contains("shared:"), "{flags}");
    });
}

/// Area `linux_seccomp`: calls on no list answer ENOSYS or EPERM, and others work.
#[test]
fn seccomp() {
    each(this_test!(), |container| {
        assert_eq!(container.status(&[], "Seccomp"), "2");
        // swapoff(2) and sethostname(2) are refused, and mkdir(2) is not.
        let text =
            "! hostname other 2>/dev/null && ! swapoff /etc/text 2>/tmp/said && mkdir /tmp/d";
        container.holds(&[], text);
    });
}

/// Areas `linux_ns_nopath` and `linux_ns_itype`: new namespaces where they are asked for, and the caller's
/// elsewhere.
#[test]
fn namespaces() {
    each(this_test!(), |container| {
        let of = |options: &[&str], name: &str| {
            container
                .says(options, &format!("readlink /proc/self/ns/{name}"))
                .trim()
                .to_owned()
        };
        let own = |name: &str| {
            fs::read_link(format!("/proc/self/ns/{name}"))
                .unwrap()
                .display()
                .to_string()
        };
        for name in ["ipc", "mnt", "pid", "uts"] {
            assert_ne!(of(&[], name), own(name));
        }
        assert_eq!(of(&[], "net"), own("net"));
        assert_ne!(of(&["--network", "none"], "net"), own("net"));
        let text = "[ $$ = 1 ] && [ $(ls /sys/class/net) = lo ]";
        container.holds(&["--network", "none"], text);
    });
}

/// Area `linux_uid_mappings`: the caller is root in the container, or keeps its id.
#[test]
fn id_mappings() {
    each(this_test!(), |container| {
        let own = rustix::process::geteuid().as_raw();
        let map = container.says(&[], "cat /proc/self/uid_map");
        let first: Vec<&str> = map.split_whitespace().collect();
        assert_eq!(first[..2], ["0", &own.to_string()], "{map}");
        if own != 0 && has_ids("id_mappings (keep-id)") {
            let said = container.says(&["--userns", "keep-id"], "id -u");
            assert_eq!(said.trim(), own.to_string());
        }
    });
}

/// Area `kill` and `killsig`: every signal with a handler reaches it.
#[test]
fn signals() {
    use rustix::process::{Signal, kill_process};
    each(this_test!(), |container| {
        for (signal, name) in [
            (Signal::TERM, "TERM"),
            (Signal::USR1, "USR1"),
            (Signal::HUP, "HUP"),
        ] {
            let mark = container.world.path("").display().to_string();
            let text =
                format!("trap 'exit 42' {name}; : {mark}; echo ready; while :; do sleep 0.1; done");
            let mut command = script(container.world, &container.options(&[]), &text);
            let mut running = running::Background::start(&mut command, &mark);
            running.wait_for_line("ready");
            kill_process(running.pid(), signal).unwrap();
            assert_eq!(
                running.end().code(),
                Some(42),
                "{name} {:?}",
                container.runtime
            );
        }
    });
}

/// Area `process`, `terminal`: a program has one only if it is to have one.
#[test]
fn terminal() {
    each(this_test!(), |container| {
        container.holds(
            &[],
            "[ ! -t 0 ] && ! { true </dev/tty; } 2>/dev/null && [ ! -e /dev/console ]",
        );
        if container.runtime.is_none() {
            // The runtime inside makes a terminal without having one.
            let said = container.says(&["-t"], "[ -t 0 ] && tty && stat -c %F /dev/console");
            assert!(said.starts_with("/dev/pts/0"), "{said}");
        }
    });
}

/// Area `misc_props`: a program that is not there, or is none, is an error.
#[test]
fn programs_that_cannot_be_run() {
    each(this_test!(), |container| {
        let path = container.world.path("file");
        fs::write(&path, "text").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for (program, status) in [("/no/such", 127), ("/etc/passwd", 126)] {
            let mut command = container.world.plyfs(["run"]);
            command
                .args(container.options(&[]))
                .args(["box:test", program]);
            let output = command.output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(status),
                "{program} {:?}",
                container.runtime
            );
        }
    });
}

//! What is open, executed or in memory while a container starts is not within its reach.

use std::process::Command;

use plyfs_store::Digest;
use plyfs_store::fixture::{Config, Entry, Layer};

use super::cell::*;
use crate::support::*;

/// Paths by which a descriptor of the runtime, or what else /proc leads to, would be the working directory.
const DIRECTORIES: [&str; 9] = [
    "/proc/self/fd/3",
    "/proc/self/fd/4",
    "/proc/self/fd/5",
    "/proc/thread-self/fd/3",
    "/proc/self/fd/3/..",
    "/proc/self/fd/4/../..",
    "/proc/self/root",
    "/link",
    "/link/..",
];

fn linked() -> Layer {
    Layer::new([
        Entry::symlink("link", "/proc/self/fd/3"),
        Entry::symlink("up", "/proc/self/fd/4/../../../../../.."),
    ])
}

/// CVE-2024-21626: of `WorkingDir` and `run -w`.
#[test]
fn cve_2024_21626_a_working_directory_is_no_descriptor() {
    let test = this_test!();
    let images = |_: &_| {
        let config = |directory: &str| Config {
            working_dir: directory.to_owned(),
            ..Config::default()
        };
        vec![
            ("box", linked(), Config::default()),
            ("three", linked(), config("/proc/self/fd/3")),
            ("four", linked(), config("/proc/thread-self/fd/4/..")),
            ("linked", linked(), config("/link")),
        ]
    };
    each(test, images, |cell| {
        for directory in DIRECTORIES {
            cell.script(&["-w", directory], "echo *").refused();
        }
        for image in ["three", "four", "linked"] {
            let words = ["bash", "-c", "echo *"];
            finish(&mut cell.command(image, &[], &words)).refused();
        }
    });
}

/// CVE-2024-21626: of `exec -w`.
#[test]
fn cve_2024_21626_a_working_directory_of_exec_is_no_descriptor() {
    let test = this_test!();
    each(
        test,
        |_| vec![("box", linked(), Config::default())],
        |cell| {
            let running = cell.idle(&[]);
            for directory in DIRECTORIES.iter().step_by(2) {
                cell.exec(&["-w", directory], &["bash", "-c", "echo *"])
                    .refused();
            }
            running.stop();
        },
    );
}

/// CVE-2024-21626: of the entrypoint, which would be a program of the machine.
#[test]
fn cve_2024_21626_a_program_is_not_found_by_a_descriptor() {
    let test = this_test!();
    let images = |_: &_| {
        let config = Config {
            entrypoint: vec!["/proc/self/fd/3/../../../../../../bin/bash".into()],
            ..Config::default()
        };
        vec![
            ("box", linked(), Config::default()),
            ("entry", linked(), config),
        ]
    };
    each(test, images, |cell| {
        let words = ["-c", "echo in"];
        finish(&mut cell.command("entry", &[], &words)).refused();
        for program in [
            "/proc/self/fd/4/../../../../../../bin/bash",
            "/proc/thread-self/fd/3/../../../../bin/bash",
            "/proc/self/root/bin/bash",
            "/up/bin/bash",
        ] {
            cell.run(&["--entrypoint", program], &words).refused();
        }
        let path = "PATH=/proc/self/fd/3/../../../../../../bin:/up/bin";
        cell.run(&["-e", path], &["bash", "-c", "echo in"])
            .refused();
    });
}

/// What the caller has open is not inherited (runc 1.1.12 closes it, too), and cannot be entered.
#[test]
fn descriptors_of_the_caller_stay_outside() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let outside = cell.outside();
        let leaking = |command: &Command| {
            let mut bash = Command::new("bash");
            let open = "exec 9<\"$0\" 11<\"$0/canary\" 251>>\"$0/canary\"; exec \"$@\"";
            bash.args(["-c", open]).arg(&outside);
            bash.arg(command.get_program()).args(command.get_args());
            finish(&mut bash)
        };
        let run = |options: &[&str], words: &[&str]| leaking(&cell.command("box", options, words));
        let only_standard = |listed: String| {
            let numbers: Vec<&str> = listed
                .lines()
                .filter_map(|line| line.split(' ').next())
                .collect();
            assert_eq!(numbers, ["0", "1", "2"], "{listed}");
        };
        only_standard(run(&[], &["probe", "descriptors"]).ok());
        only_standard(run(&["--init"], &["probe", "descriptors"]).ok());
        for number in ["9", "11", "251"] {
            let directory = format!("/proc/self/fd/{number}");
            run(&["-w", &directory], &["bash", "-c", "echo *"]).refused();
            let script = "shopt -s nullglob; cd -P /proc/$$/fd/$0 && echo *";
            assert_ne!(run(&[], &["bash", "-c", script, number]).status, 0);
        }
        let mut exec = cell.world.plyfs(["exec", "c", "probe", "descriptors"]);
        only_standard(leaking(exec.stdin(std::process::Stdio::null())).ok());
        running.stop();
    });
}

fn libraries(library: &[u8]) -> Layer {
    let mut layer = Layer::new([
        Entry::dir("lib"),
        Entry::file("lib/evil.so", library).mode(0o755),
        Entry::file("bin/again", "#!/proc/self/exe\n").mode(0o755),
        Entry::symlink("bin/myself", "/proc/self/exe"),
    ]);
    // The program has libraries that bash has not.
    let listed = succeed(Command::new("ldd").arg(PLYFS));
    for path in listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let name = path.rsplit('/').next().unwrap();
        let content = std::fs::read(path).unwrap();
        layer.push(Entry::file(format!("lib/{name}"), content).mode(0o755));
    }
    layer
}

/// CVE-2019-5736: an image executes the runtime once more, with a library of its own in it, and writes to it
/// or makes it set-uid. The library says what it could do.
#[test]
fn cve_2019_5736_the_program_is_not_changed_from_inside() {
    let test = this_test!();
    let Ok(probe) = probe() else {
        return skip(test, "there is no cc to build a hostile library");
    };
    let images = |_: &_| {
        let env = [
            "PATH=/bin",
            "LD_PRELOAD=/lib/evil.so",
            "LD_LIBRARY_PATH=/lib",
        ];
        let config = Config {
            env: env.map(str::to_owned).to_vec(),
            ..Config::default()
        };
        let by = |entrypoint: &str| Config {
            entrypoint: vec![entrypoint.to_owned()],
            ..config.clone()
        };
        vec![
            ("box", libraries(&probe.library), config.clone()),
            ("exe", libraries(&probe.library), by("/proc/self/exe")),
            ("again", libraries(&probe.library), by("/bin/again")),
        ]
    };
    let digest = || Digest::of(&std::fs::read(PLYFS).unwrap());
    let before = digest();
    each(test, images, |cell| {
        // The program itself, by its link.
        finish(&mut cell.command("exe", &[], &["x"])).refused();
        for program in ["/proc/self/exe", "myself", "/proc/1/exe"] {
            cell.run(&["--entrypoint", program], &["--version"])
                .refused();
        }
        let running = cell.idle(&[]);
        cell.exec(&[], &["/proc/self/exe", "--version"]).refused();
        // As the interpreter of a script it is a copy in memory that nothing else uses.
        let attempts = [
            finish(&mut cell.command("again", &[], &[])),
            cell.exec(&[], &["/bin/again"]),
            cell.run(&["--init"], &["bash", "-c", "/bin/again"]),
        ];
        running.stop();
        for said in attempts {
            assert!(!said.out.contains(PLYFS), "{said:?}");
            let written = said.out.lines().filter(|line| line.starts_with("wrote "));
            let ok: Vec<&str> = written.filter(|line| line.ends_with(" ok")).collect();
            assert!(ok.is_empty(), "{said:?}");
        }
        assert_eq!(digest(), before);
    });
}

/// CVE-2019-5736: by the links of all processes that are seen inside, the first one of `--init` among them.
#[test]
fn cve_2019_5736_no_process_leads_to_the_program() {
    each_plain(this_test!(), |cell| {
        for options in [
            &[][..],
            &["--init"],
            &["--cap-add", "SYS_PTRACE"],
            &["--init", "--cap-add", "ALL"],
        ] {
            let said = cell
                .script(options, "probe change /proc/[0-9]*/exe /proc/self/exe")
                .ok();
            assert!(!said.contains(PLYFS), "{options:?}: {said}");
            let changed = said
                .lines()
                .any(|line| line.starts_with("wrote ") && line.ends_with(" ok"));
            assert!(!changed, "{options:?}: {said}");
        }
    });
}

/// CVE-2016-9962: a container looks for what the process of `exec` has open, is, and stands in, before it
/// becomes the container's own program.
#[test]
fn cve_2016_9962_a_container_sees_nothing_of_exec() {
    each_plain(this_test!(), |cell| {
        let mut running = cell.start(&[], &["probe", "spy", "2"]);
        running.wait_for("spying");
        let start = std::time::Instant::now();
        let mut executed = 0;
        while start.elapsed() < std::time::Duration::from_millis(1000) {
            executed += i32::from(cell.exec(&[], &["probe", "readlink", "/"]).status == 0);
        }
        let mut seen = String::new();
        std::io::Read::read_to_string(&mut running.output, &mut seen).unwrap();
        assert_eq!(seen.trim_end(), "spied");
        assert!(executed > 2, "only {executed} were executed");
        running.end();
    });
}

/// CVE-2026-57231, CVE-2021-3602: variables of the caller, by an image that names them, and by processes that
/// have been the caller's.
#[test]
fn cve_2026_57231_the_environment_of_the_caller_stays_outside() {
    let test = this_test!();
    let images = |_: &_| {
        let env = ["PATH=/bin", "SECRET", "SEC*", "*", "=SECRET", ""];
        let config = Config {
            env: env.map(str::to_owned).to_vec(),
            ..Config::default()
        };
        vec![("box", Layer::new([]), config)]
    };
    each(test, images, |cell| {
        for options in [&[][..], &["--init"], &["--init", "--cap-add", "SYS_PTRACE"]] {
            let words = ["probe", "environments", "not-for-images"];
            let mut command = cell.command("box", options, &words);
            let said = finish(command.env("SECRET", "not-for-images"));
            assert_eq!(said.ok(), "", "{options:?}");
        }
        let running = cell.idle(&["--init"]);
        let mut exec = cell
            .world
            .plyfs(["exec", "c", "probe", "environments", "not-for-images"]);
        assert_eq!(finish(exec.env("SECRET", "not-for-images")).ok(), "");
        running.stop();
    });
}

/// A container opens what is at its standard input once more, by /proc/self/fd.
#[test]
fn a_file_that_the_caller_opened_for_reading_stays_as_it_is() {
    each_plain(this_test!(), |cell| {
        let running = cell.idle(&[]);
        let canary = cell.outside().join("canary");
        let words = ["probe", "change", "/proc/self/fd/0"];
        let mut exec = cell.world.plyfs(["exec", "c"]);
        exec.args(words);
        for mut command in [
            cell.command("box", &[], &words),
            cell.command("box", &["--init"], &words),
            exec,
        ] {
            command.stdin(std::fs::File::open(&canary).unwrap());
            let said = finish(&mut command).ok();
            let failed = |what: &str| {
                let mut lines = said.lines().filter(|line| line.starts_with(what));
                lines.any(|line| !line.ends_with(" ok"))
            };
            assert!(said.starts_with("opened "), "{said}");
            assert!(failed("wrote ") && failed("made set-uid "), "{said}");
            // The test looks at all of the file when it ends.
        }
        // Everything of it is read, from where the caller was, and the caller goes on from there.
        let script = "read -n 3 a <&0; \"$@\"; read b; echo \"caller:$a:$b\"";
        let inner = "read -N 2 c; echo \"inside:$c\"";
        let run = cell.command("box", &[], &["bash", "-c", inner]);
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash"]).arg(run.get_program());
        bash.args(run.get_args());
        bash.stdin(std::fs::File::open(&canary).unwrap());
        assert_eq!(finish(&mut bash).ok(), "inside:ou\ncaller:unt:ched\n");
        running.stop();
    });
}

/// What is only a path leads to the machine's tree, and a block device can be written to.
#[test]
fn what_leads_outside_is_refused_as_standard_input() {
    each_plain(this_test!(), |cell| {
        let path = cell.outside().join("canary");
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let path = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
        let mut command = cell.command("box", &[], &["probe", "readlink", "/"]);
        let line = finish(command.stdin(path)).refused();
        assert!(line.contains("a path only"), "{line}");
        let devices = std::fs::read_dir("/sys/class/block").unwrap().flatten();
        let paths = devices.map(|entry| std::path::Path::new("/dev").join(entry.file_name()));
        let Some(device) = paths.map(std::fs::File::open).find_map(Result::ok) else {
            skip(
                &format!("{} (block device)", this_test!()),
                "this user can open no block device",
            );
            return;
        };
        let mut command = cell.command("box", &[], &["probe", "readlink", "/"]);
        let line = finish(command.stdin(device)).refused();
        assert!(line.contains("a block device"), "{line}");
    });
}

//! `plyfs run`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::running::Background;
use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that does not depend on a clock.
const LONG: Duration = Duration::from_secs(20);

/// A layer with bash, or a skipped test.
fn bash(test: &str) -> Option<Layer> {
    let bash = match cannot_mount() {
        Some(why) => Err(why),
        None => program::bash(),
    };
    bash.map_err(|why| skip(test, &why)).ok()
}

/// A store with an image in which there is bash, `box:test`; or a skipped test.
fn world_with(test: &str, config: Config) -> Option<World> {
    let bash = bash(test)?;
    let etc = Layer::new([
        Entry::dir("."),
        Entry::dir("etc"),
        Entry::file(
            "etc/passwd",
            // As some write J\u{fc}rgen: not everything is UTF-8.
            b"root:x:0:0:root:/root:/bin/bash\njoe:x:1000:1001:J\xfcrgen:/home/joe:/bin/bash\n",
        ),
        Entry::file(
            "etc/group",
            "root:x:0:\njoe:x:1001:\nstaff:x:50:joe,ann\naudio:x:29:joe\n",
        ),
        Entry::dir("root").mode(0o700),
        Entry::dir("tmp").mode(0o1777),
        Entry::dir("proc"),
        Entry::dir("sys"),
        Entry::dir("dev"),
        Entry::file("etc/text", "no program").mode(0o644),
        Entry::file("bin/orphan", "#!/no/such/interpreter\n").mode(0o755),
        Entry::file("bin/shapeless", "neither fish nor fowl\n").mode(0o755),
    ]);
    let world = World::new();
    let image = ImageBuilder::new()
        .layer(bash, Compression::None)
        .layer(etc, Compression::None)
        .config(config);
    world.with_image("box", &image);
    Some(world)
}

fn world(test: &str) -> Option<World> {
    world_with(test, Config::default())
}

/// Runs a script by the bash of the image.
fn script(world: &World, options: &[&str], script: &str) -> Command {
    let mut command = world.plyfs(["run"]);
    command
        .args(options)
        .args(["box:test", "bash", "-c", script]);
    command
}

/// What a script says.
fn said(world: &World, options: &[&str], text: &str) -> String {
    succeed(&mut script(world, options, text))
}

/// Whether ids other than root's can be had in a container here.
fn has_ids() -> bool {
    let map = succeed(&mut plyfs(["unshare", "cat", "/proc/self/uid_map"]));
    map.split_whitespace().nth(2) != Some("1") || map.lines().count() > 1
}

/// Nothing of what was run is left: not in the store, and no mount.
fn assert_nothing_left(world: &World) {
    for dir in ["containers", "staging", "mnt"] {
        assert_eq!(world.names(dir), [""; 0], "{dir}");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let store = world.path("").display().to_string();
    assert!(!mounts.contains(&store), "{mounts}");
}

#[test]
fn the_exit_status_is_passed_on() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let before = world.snapshot();
    for (text, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("bash -c 'kill -TERM $$'; exit $?", 143),
        ("bash -c 'kill -KILL $$'; exit $?", 137),
    ] {
        let output = script(&world, &[], text).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        if status < 128 {
            // A command has its own say.
            assert_eq!(crate::support::text(&output.stderr), "");
        }
    }
    assert_nothing_left(&world);
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn a_program_ended_by_a_signal_gives_128_and_its_number() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let mut running = self::running(&world, &[], "echo ready; read");
    running.wait_for_line("ready");
    kill_process(first_process(&running), Signal::KILL).unwrap();
    assert_eq!(running.end().code(), Some(137));
    assert_nothing_left(&world);
}

/// 125, 126 and 127 are as Podman has them.
#[test]
fn what_cannot_be_run_has_a_status_of_its_own() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let before = world.snapshot();
    for (arguments, status, words) in [
        (vec!["box:test", "nothing"], 127, ["no program", "nothing"]),
        (
            vec!["box:test", "/bin/nothing"],
            127,
            ["no program", "/bin/nothing"],
        ),
        (vec!["box:test", ""], 127, ["no program", ""]),
        (vec!["box:test", "orphan"], 127, ["orphan", "interpreter"]),
        (
            vec!["box:test", "shapeless"],
            126,
            ["shapeless", "begins with #!"],
        ),
        (
            vec!["box:test", "/etc/text"],
            126,
            ["/etc/text", "can be run"],
        ),
        (vec!["box:test", "/etc"], 126, ["/etc", "can be run"]),
        (
            vec!["--user", "ann", "box:test", "bash"],
            125,
            ["\"ann\"", "/etc/passwd"],
        ),
        (
            vec!["--user", "joe:x", "box:test", "bash"],
            125,
            ["\"x\"", "/etc/group"],
        ),
        (
            vec!["--workdir", "/etc/text", "box:test", "bash"],
            125,
            ["/etc/text", "Not a directory"],
        ),
        (vec!["box:test"], 125, ["box:test", "names no command"]),
        (
            vec!["--keep", "box:test"],
            125,
            ["box:test", "names no command"],
        ),
        (
            vec!["--container", "new", "box:test"],
            125,
            ["box:test", "names no command"],
        ),
        (
            vec!["--container", "a b", "box:test", "bash"],
            125,
            ["\"a b\"", "letters"],
        ),
    ] {
        let mut command = world.plyfs(["run"]);
        command.args(&arguments);
        let (actual, line) = fail(&mut command);
        assert_eq!(actual, status, "{arguments:?}: {line}");
        for word in words {
            assert!(line.contains(word), "{arguments:?}: {line}");
        }
    }
    // Also no container that no command would show.
    assert_nothing_left(&world);
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn the_environment_is_the_image_s() {
    let config = Config {
        env: vec![
            "PATH=/bin:/opt/bin".into(),
            "FROM=image".into(),
            "A=b=c".into(),
        ],
        ..Config::default()
    };
    let Some(world) = world_with(this_test!(), config) else {
        return;
    };
    let environment = |options: &[&str]| {
        let text = "while IFS= read -r -d '' pair; do echo \"$pair\"; done </proc/self/environ";
        let mut command = script(&world, options, text);
        let command = command.env("OUTSIDE", "secret").env("TERM", "dumb");
        let mut lines: Vec<String> = succeed(command).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let with = |options: &[&str], more: &[&str]| {
        let mut expected = vec!["A=b=c", "HOME=/root", "HOSTNAME=box", "PATH=/bin:/opt/bin"];
        expected.extend(["FROM=image", "container=plyfs"]);
        for pair in more {
            let name = &pair[..=pair.find('=').unwrap()];
            expected.retain(|other| !other.starts_with(name));
            expected.push(pair);
        }
        expected.sort();
        let mut all = vec!["--container", "box"];
        all.extend(options);
        assert_eq!(environment(&all), expected, "{options:?}");
    };
    with(&[], &[]);
    with(
        &["-e", "FROM=option", "-e", "NEW=1", "-e", "NEW=2"],
        &["FROM=option", "NEW=2"],
    );
    with(&["-e", "OUTSIDE", "-e", "UNSET"], &["OUTSIDE=secret"]);
    with(&["-e", "HOME=/tmp"], &["HOME=/tmp"]);
}

#[test]
fn programs_start_with_signals_as_they_are_by_default() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    // As a program is that nohup(1) started, or a shell in the background.
    let command = script(&world, &[], "echo \"$(</proc/self/status)\"");
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]);
    ignoring.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        ignoring.env(name, value.unwrap_or_default());
    }
    let status = succeed(&mut ignoring);
    let set = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field));
        let value = line.unwrap().split_whitespace().last().unwrap();
        u64::from_str_radix(value, 16).unwrap()
    };
    // Which the runtime of Rust ignores, which are waited for, and which were ignored before.
    for signal in [
        Signal::PIPE,
        Signal::TERM,
        Signal::CHILD,
        Signal::WINCH,
        Signal::HUP,
        Signal::INT,
    ] {
        let bit = 1 << (signal.as_raw() - 1);
        assert_eq!(set("SigIgn") & bit, 0, "{signal:?} is ignored");
        assert_eq!(set("SigBlk") & bit, 0, "{signal:?} is blocked");
    }
}

#[test]
fn the_working_directory_is_made_if_need_be() {
    let config = Config {
        working_dir: "/srv/app".into(),
        ..Config::default()
    };
    let Some(world) = world_with(this_test!(), config) else {
        return;
    };
    for (options, directory) in [
        (vec![], "/srv/app"),
        (vec!["--workdir", "/etc"], "/etc"),
        (vec!["-w", "made/here"], "/made/here"),
    ] {
        let said = said(&world, &options, "echo \"$PWD\"; [[ -d . ]]");
        assert_eq!(said.trim_end(), directory, "{options:?}");
    }
    let (status, line) = fail(&mut script(&world, &["--ro"], "true"));
    assert_eq!(status, 125);
    assert!(
        line.contains("/srv/app") && line.contains("Read-only"),
        "{line}"
    );
}

#[test]
fn entrypoint_and_command_are_put_together() {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let config = Config {
        entrypoint: words(&["bash", "-c", "printf '<%s>' \"$0\" \"$@\""]),
        cmd: words(&["a b", "c"]),
        ..Config::default()
    };
    let Some(world) = world_with(this_test!(), config) else {
        return;
    };
    for (arguments, said) in [
        (vec!["box:test"], "<a b><c>"),
        (vec!["box:test", "x", "-y", "--ro"], "<x><-y><--ro>"),
        (
            vec!["--entrypoint", "", "box:test", "bash", "-c", "echo -n x"],
            "x",
        ),
        (
            vec!["--entrypoint", "bash", "box:test", "-c", "echo -n y"],
            "y",
        ),
    ] {
        let mut command = world.plyfs(["run"]);
        assert_eq!(succeed(command.args(&arguments)), said, "{arguments:?}");
    }
    // An entrypoint of one's own makes nothing of the image's command, nor does an empty one.
    let mut command = world.plyfs(["run", "--entrypoint", "", "box:test"]);
    assert!(fail(&mut command).1.contains("names no command"));
}

#[test]
fn the_user_is_looked_up_in_the_image() {
    let test = this_test!();
    let config = Config {
        user: "joe".into(),
        ..Config::default()
    };
    let Some(world) = world_with(test, config) else {
        return;
    };
    let ids = |options: &[&str]| {
        let status = "mapfile -t lines </proc/self/status; printf '%s\\n' \"${lines[@]}\"";
        let text = format!("echo \"HOME: $HOME\"; {status}");
        let said = said(&world, options, &text);
        let field = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            let values: Vec<&str> = line.unwrap().split_whitespace().collect();
            values.join(" ")
        };
        let identity = [
            field("Uid:"),
            field("Gid:"),
            field("Groups:"),
            field("HOME:"),
        ];
        (identity.join(", "), field("CapEff:"))
    };
    let none = "0000000000000000";
    if !has_ids() {
        let (status, line) = fail(&mut script(&world, &[], "true"));
        assert_eq!(status, 125);
        assert!(line.contains("1001") && line.contains("subuid"), "{line}");
        return skip(test, "this user has no subordinate ids for another user");
    }
    for (options, identity) in [
        (
            vec![],
            "1000 1000 1000 1000, 1001 1001 1001 1001, 29 50 1001, /home/joe",
        ),
        (
            vec!["-u", "1000"],
            "1000 1000 1000 1000, 1001 1001 1001 1001, 29 50 1001, /home/joe",
        ),
        (
            vec!["-u", "joe:staff"],
            "1000 1000 1000 1000, 50 50 50 50, 50, /home/joe",
        ),
        (vec!["-u", "7:8"], "7 7 7 7, 8 8 8 8, 8, /"),
        (vec!["-u", "7"], "7 7 7 7, 0 0 0 0, 0, /"),
    ] {
        let (found, capabilities) = ids(&options);
        assert_eq!(found, identity, "{options:?}");
        assert_eq!(capabilities, none, "{options:?}");
    }
    let (found, capabilities) = ids(&["--user", "root"]);
    assert_eq!(found, "0 0 0 0, 0 0 0 0, 0, /root");
    assert_ne!(capabilities, none);
    // Permissions hold for others than root, and what is made belongs to its maker.
    let text = "[[ ! -r /root/. && ! -w /etc ]] && echo mine >/tmp/f && [[ -O /tmp/f ]]";
    said_nothing(&world, &[], text);
    assert_nothing_left(&world);
}

fn said_nothing(world: &World, options: &[&str], text: &str) {
    assert_eq!(said(world, options, text), "", "{text}");
}

#[test]
fn the_file_systems_of_a_container_are_there() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for options in [vec![], vec!["--ro"]] {
        for text in [
            // The first process of its own namespace, which sees only itself.
            "[[ $$ == 1 && $(</proc/1/comm) == bash ]]",
            "shopt -s extglob\nprocesses=(/proc/+([0-9])); (( ${#processes[@]} == 1 ))",
            "for name in null zero full random urandom tty; do [[ -c /dev/$name ]] || exit; done",
            "echo gone >/dev/null && [[ -z $(</dev/null) ]]",
            "LC_ALL=C read -r -N 8 bytes </dev/urandom && [[ -n $bytes ]]",
            "! echo x 2>/dev/null >/dev/full",
            "[[ -d /dev/pts && -e /dev/ptmx && -c /dev/pts/ptmx ]]",
            "echo text >/dev/shm/f && [[ $(</dev/shm/f) == text ]]",
            "[[ -e /dev/fd/0 && -e /dev/stdin && -e /dev/stdout && -e /dev/stderr ]]",
            "[[ -d /sys/class && -d /sys/kernel ]]",
            // What belongs to the machine cannot be changed.
            "! echo x 2>/dev/null >/proc/sys/kernel/hostname",
            "! echo x 2>/dev/null >/sys/kernel/x",
            "[[ ! -s /proc/kcore ]]",
            "[[ ! -e /dev/fuse ]]",
        ] {
            said_nothing(&world, &options, text);
        }
    }
    let mounts = said(
        &world,
        &[],
        "mapfile -t lines </proc/mounts; printf '%s\\n' \"${lines[@]}\"",
    );
    let types = |path: &str| {
        let mut all = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let fields = all.find(|fields| fields[1] == path);
        fields
            .map(|fields| fields[2].to_owned())
            .unwrap_or_default()
    };
    assert_eq!(types("/"), "fuse.plyfs", "{mounts}");
    assert_eq!(types("/dev/pts"), "devpts", "{mounts}");
    assert_eq!(types("/dev/shm"), "tmpfs", "{mounts}");
    // Nothing of the machine's own tree is to be seen.
    assert!(
        !mounts.contains(&world.path("").display().to_string()),
        "{mounts}"
    );
}

/// Many images have /var/tmp or /run as links.
#[test]
fn places_in_memory_follow_links_of_the_image() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let bash = program::bash().unwrap();
    let links = Layer::new([
        Entry::dir("."),
        Entry::dir("etc"),
        Entry::dir("proc"),
        Entry::dir("dev"),
        Entry::dir("sys"),
        Entry::dir("tmp").mode(0o1777),
        Entry::dir("var"),
        Entry::symlink("var/tmp", "/tmp"),
        Entry::symlink("run", "var/run"),
        Entry::symlink("etc/resolv.conf", "../run/resolve/stub.conf"),
    ]);
    let image = ImageBuilder::new()
        .layer(bash, Compression::None)
        .layer(links, Compression::None);
    world.with_image("links", &image);
    let said = |options: &[&str], text: &str| {
        let mut run = world.plyfs(["run"]);
        succeed(run.args(options).args(["links:test", "bash", "-c", text]))
    };
    let write =
        "for d in /tmp /var/tmp /run /var/run; do echo in >$d/file && echo $(<$d/file); done";
    assert_eq!(said(&["--read-only"], write), "in\n".repeat(4));
    let read = "[[ $(</etc/resolv.conf) ]] && echo there";
    let machine = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if !machine.is_empty() {
        assert_eq!(said(&["--read-only"], read), "there\n");
        assert_eq!(said(&[], read), "there\n");
    }
    let options = ["--tmpfs", "/var/tmp:size=4k"];
    let options = |text: &str| said(&options, text);
    assert_eq!(
        options("echo in >/tmp/file; echo $(</var/tmp/file)"),
        "in\n"
    );
    let mounted = "while read -r a b c d at rest; do echo $at; done </proc/self/mountinfo";
    assert!(options(mounted).lines().any(|line| line == "/tmp"));
}

/// Neither is about ids that the user namespace lacks, nor about a program that is not there.
#[test]
fn limits_of_the_kernel_are_named_as_the_reason() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for words in [&["bash", "-c", ":"][..], &["/bin/bash", "-c", ":"]] {
        let mut run = world.plyfs(["run", "--ulimit", "nofile=3", "box:test"]);
        let (status, line) = fail(run.args(words));
        assert_eq!(status, 126, "{line}");
        assert!(line.contains("Too many open files"), "{line}");
    }
    if !has_ids() {
        return;
    }
    let repeated = (0..70_000).map(|at| format!("g{at}:x:{}:joe\n", at % 50 + 2));
    let repeats = Layer::new([Entry::file("etc/group", repeated.collect::<String>())]);
    let distinct = (0..70_000).map(|at| format!("g{at}:x:{}:joe\n", at + 2));
    let many = Layer::new([Entry::file("etc/group", distinct.collect::<String>())]);
    for (name, layer) in [("repeats", repeats), ("many", many)] {
        let bash = program::bash().unwrap();
        let base = Layer::new([
            Entry::dir("etc"),
            Entry::dir("proc"),
            Entry::dir("dev"),
            Entry::dir("sys"),
            Entry::file("etc/passwd", "joe:x:1000:1001::/:/bin/bash\n"),
        ]);
        let image = ImageBuilder::new()
            .layer(bash, Compression::None)
            .layer(base, Compression::None)
            .layer(layer, Compression::None);
        world.with_image(name, &image);
    }
    let run = |image: &str| {
        let mut run = world.plyfs(["run", "-u", "joe"]);
        run.arg(format!("{image}:test")).args(["bash", "-c", ":"]);
        run
    };
    let (status, line) = fail(&mut run("many"));
    assert_eq!(status, 125, "{line}");
    assert!(line.contains("70000 groups"), "{line}");
    succeed(&mut run("repeats"));
}

#[test]
fn a_read_only_container_changes_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let before = world.snapshot();
    let text = "[[ $(</etc/text) == 'no program' ]] && ! echo x 2>/dev/null >/etc/text && \
                ! echo x 2>/dev/null >/new";
    said_nothing(&world, &["--ro"], text);
    assert_nothing_left(&world);
    tree::assert_same(&before, &world.snapshot());
}

#[test]
fn a_container_is_kept_and_found_again() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    // One that was not to be kept is gone.
    said_nothing(&world, &[], "echo gone >/tmp/f");
    said_nothing(&world, &[], "[[ ! -e /tmp/f ]]");
    assert_nothing_left(&world);

    let change = "echo changed >/etc/text; exit 4";
    let (status, line) = fail(&mut script(&world, &["--keep"], change));
    assert_eq!(status, 4);
    let name = line.rsplit(' ').next().unwrap();
    assert_eq!(world.names("containers"), [name], "{line}");
    assert_eq!(
        said(&world, &["--container", name], "echo $(</etc/text)"),
        "changed\n"
    );
    said_nothing(&world, &[], "[[ $(</etc/text) == 'no program' ]]");

    said_nothing(
        &world,
        &["--container", "mine"],
        "[[ $HOSTNAME == mine ]] && echo 1 >/tmp/f",
    );
    assert_eq!(
        said(&world, &["--container", "mine"], "echo $(</tmp/f)"),
        "1\n"
    );
    let mut both = vec![name.to_owned(), "mine".to_owned()];
    both.sort();
    assert_eq!(world.names("containers"), both);

    // It stands on its image, whatever has the name of that now.
    let other = ImageBuilder::new().layer(program::bash().unwrap(), Compression::None);
    world.with_image("box", &other);
    let (status, line) = fail(&mut script(&world, &["--container", "mine"], "true"));
    assert_eq!(status, 125);
    assert!(line.contains("another image"), "{line}");
}

#[test]
fn standard_input_is_passed_on() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let text = "while read -r line; do echo \"got $line\"; done; echo end";
    let mut child = script(&world, &[], text)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        crate::support::text(&output.stdout),
        "got one\ngot two\nend\n"
    );
}

#[test]
fn signals_are_passed_on() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        // Bash reads on when a signal comes just before it waits for input, but not for a process.
        let text = format!("trap 'exit 7' {name}; sleep 1000 & echo ready; while :; do wait; done");
        let mut running = self::running(&world, &[], &text);
        running.wait_for_line("ready");
        kill_process(running.pid(), signal).unwrap();
        assert_eq!(running.end().code(), Some(7), "{name}");
    }
    assert_nothing_left(&world);
}

/// While a process waits for signals, no mask of /proc shows them.
#[test]
fn init_passes_a_signal_on_to_a_handler() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let text = "trap 'exit 7' TERM; sleep 1000 & echo ready; while :; do wait; done";
    let mut running = self::running(&world, &["--init"], text);
    running.wait_for_line("ready");
    kill_process(running.pid(), Signal::TERM).unwrap();
    assert_eq!(running.end().code(), Some(7));
}

#[test]
fn a_directory_as_standard_input_is_no_way_out() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let mut command = script(&world, &[], "true");
    command.stdin(fs::File::open("/etc").unwrap());
    let (status, line) = fail(&mut command);
    assert_eq!(status, 125);
    assert!(line.contains("is a directory"), "{line}");
}

/// As some programs leave it to what they execute.
#[test]
fn an_end_is_seen_though_the_caller_ignores_sigchld() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let run = script(&world, &[], "echo done");
    let mut caller = Command::new("bash");
    caller.args(["-c", "trap '' CHLD; exec timeout -s KILL 20 \"$@\"", "bash"]);
    caller.arg(run.get_program()).args(run.get_args());
    assert_eq!(succeed(&mut caller), "done\n");
}

/// Others read on in a file while a container has it.
#[test]
fn a_file_at_standard_input_is_not_wound_back() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let path = world.path("lines");
    fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let mut file = fs::File::open(&path).unwrap();
    let mut command = script(
        &world,
        &[],
        "echo ready; while :; do read -t 60 <>/dev/ptmx; done",
    );
    let mut child = command
        .stdin(file.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    std::io::Read::read_exact(&mut file, &mut line[..4]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut file, &mut rest).unwrap();
    assert_eq!(rest, "two\nthree\n");
}

/// A terminal has its end-of-file character only at the beginning of a line.
#[test]
fn input_without_a_last_newline_ends_at_a_terminal() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    for (input, expected) in [("a\nb", "<a\nb>"), ("a\n", "<a\n>"), ("", "<>")] {
        let text = "stty -echo 2>/dev/null; all=; while IFS= read -r line; do all+=$line$'\\n'; done; \
                    printf '<%s>' \"$all$line\"";
        let mut command = script(&world, &["-t"], text);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > LONG {
                child.kill().unwrap();
                panic!("{input:?}: it does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = text_of(child).replace('\r', "");
        assert!(said.ends_with(expected), "{input:?}: {said:?}");
    }
}

fn text_of(child: std::process::Child) -> String {
    text(&child.wait_with_output().unwrap().stdout)
}

/// Other programs share the descriptors, and some make them so (O_NONBLOCK).
#[test]
fn non_blocking_input_and_output_lose_nothing() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let ((input, type_in), (output, print)) = (pipe(), pipe());
    for fd in [&input, &print] {
        rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK).unwrap();
    }
    let text = "read -r word; for ((i = 0; i < 20000; i++)); do echo \"$word $i\"; done; echo end";
    let mut command = script(&world, &["-t"], text);
    let mut child = command.stdin(input).stdout(print).spawn().unwrap();
    drop(command);
    std::thread::sleep(Duration::from_millis(500));
    let mut type_in = fs::File::from(type_in);
    type_in.write_all(b"said\n").unwrap();
    // Its pipe is full for a while.
    std::thread::sleep(Duration::from_millis(500));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(output), &mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let said = said.replace('\r', "");
    let lines: Vec<&str> = said.lines().filter(|line| *line != "said").collect();
    assert_eq!(lines.len(), 20_001);
    assert_eq!(lines.last(), Some(&"end"));
    assert!(
        lines
            .iter()
            .enumerate()
            .take(20_000)
            .all(|(i, line)| *line == format!("said {i}"))
    );
}

#[test]
fn what_a_program_left_running_ends_with_it() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let text = "bash -c 'while :; do read -t 60 <>/dev/ptmx; done' & echo ready; read";
    let mut running = self::running(&world, &[], text);
    running.wait_for_line("ready");
    drop(running.child.stdin.take());
    assert!(!running.end().success());
    running.assert_all_gone();
    assert_nothing_left(&world);
}

/// Root in the container, and another user: a change of ids undoes what binds a process to its
/// parent.
#[test]
fn a_killed_run_leaves_nothing_running() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let mut users = vec!["root"];
    match has_ids() {
        true => users.push("joe"),
        false => skip(
            &format!("{test} (as another user)"),
            "this user has no subordinate ids",
        ),
    }
    for user in users {
        let text = "bash -c 'while :; do read -t 60 <>/dev/ptmx; done' & echo ready; read";
        let mut running = self::running(&world, &["--user", user], text);
        running.wait_for_line("ready");
        assert!(running.processes().len() >= 3, "{:?}", running.processes());
        // It waits for input that does not come, so that it does not end by itself.
        let input = running.child.stdin.take();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        running.assert_all_gone();
        drop(input);
        // The next one cleans up. A process that is ending has no arguments any more, but may still
        // hold its locks.
        let start = Instant::now();
        while !world.names("staging").is_empty() && start.elapsed() < LONG {
            said_nothing(&world, &[], "true");
        }
        assert_nothing_left(&world);
    }
}

#[test]
fn places_of_mounts_do_not_become_changes_of_a_container() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let layer = Layer::new([
        Entry::dir("etc"),
        Entry::symlink("etc/resolv.conf", "../run/systemd/stub.conf"),
        Entry::symlink("etc/hosts", "/var/hosts"),
    ]);
    assert_place_goes(&world, layer, "/new/place", "[[ -s /etc/hosts ]]");
}

/// Mounts something on a place of a container on bash and a layer, and makes sure that the place is no change of it.
#[track_caller]
fn assert_place_goes(world: &World, layer: Layer, place: &str, text: &str) {
    let image = ImageBuilder::new()
        .layer(program::bash().unwrap(), Compression::None)
        .layer(layer, Compression::None);
    world.with_image("linked", &image);
    let mut command = world.plyfs(["run", "--container", "kept", "--tmpfs", place]);
    command.args(["linked:test", "bash", "-c", text]);
    succeed(&mut command);
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    assert!(!changes.contains("A /"), "{changes}");
}

/// A world with an image that has nothing to mount on, `bare:test`.
fn world_without_places(test: &str) -> Option<World> {
    let bash = bash(test)?;
    let world = World::new();
    let image = ImageBuilder::new().layer(bash, Compression::None);
    // With owners as they are, where that can be: the kernel's overlay serves nothing else.
    let source = world.layout("bare", &image);
    succeed(&mut world.plyfs(["import", &source]));
    Some(world)
}

/// Starts a container that is kept, `kept`, of the image `bare:test`.
fn keep(world: &World, backend: &str, text: &str) -> Background {
    let mark = world.path("").display().to_string();
    let mut command = world.plyfs(["run", "--container", "kept", "--backend", backend]);
    command.args(["bare:test", "bash", "-c", &format!(": {mark}; {text}")]);
    Background::start(&mut command, &mark)
}

/// As pkill(1) sends it, and systemd to all processes of a unit: the mount must last as long as the program.
#[test]
fn a_signal_to_all_processes_of_a_run_takes_no_mount_from_the_program() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let text =
        "trap 'echo end >/file; exit 7' TERM; echo ready; while :; do read -t 60 <>/dev/ptmx; done";
    for backend in ["auto", "fuse"] {
        let mut running = keep(&world, backend, text);
        running.wait_for_line("ready");
        let processes = running.processes();
        assert!(processes.len() > 2, "no daemon among {processes:?}");
        running.signal_all(Signal::TERM);
        assert_eq!(running.end().code(), Some(7), "{backend}");
        running.assert_all_gone();
        assert_only_change(&world, "/file", backend);
        succeed(&mut world.plyfs(["rm", "kept"]));
    }
}

#[test]
fn what_a_killed_run_leaves_is_no_change_of_its_container() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let text = "echo >/file; echo ready; while :; do read -t 60 <>/dev/ptmx; done";
    for backend in ["auto", "fuse"] {
        let mut running = keep(&world, backend, text);
        running.wait_for_line("ready");
        // While it runs, too.
        assert_only_change(&world, "/file", backend);
        running.signal_all(Signal::KILL);
        running.end();
        running.assert_all_gone();
        assert_unused(&world);
        let upper = world.store("containers/kept/upper");
        assert!(upper.join("dev").exists(), "nothing is left to be removed");
        assert_only_change(&world, "/file", backend);
        succeed(&mut world.plyfs(["commit", "kept", "made"]));
        assert!(!upper.join("dev").exists(), "{backend}");
        succeed(&mut world.plyfs(["rm", "kept"]));
    }
}

/// Waits until the kernel has closed what the killed processes had open.
fn assert_unused(world: &World) {
    let store = plyfs_store::Store::open_existing(world.store("")).unwrap();
    let name = "kept".parse().unwrap();
    let start = Instant::now();
    while store.is_in_use(&name).unwrap() {
        assert!(start.elapsed() < LONG, "it stays in use");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn assert_only_change(world: &World, path: &str, backend: &str) {
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    assert_eq!(changes, format!("A {path}\n"), "{backend}");
}

/// The process that keeps a mount of the kernel's overlay may be killed for memory. The container is in use as long as
/// it runs.
#[test]
fn a_running_container_stays_locked_when_its_keeper_is_killed() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let text = "echo ready; while :; do read -t 60 <>/dev/ptmx; done";
    let mut running = keep(&world, "auto", text);
    running.wait_for_line("ready");
    let is_daemon = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        // A keeper waits for the end of its mount by inotify(7).
        let mut files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut waits = files
            .by_ref()
            .map(|file| fs::read_link(file.unwrap().path()));
        let waits =
            waits.any(|file| file.is_ok_and(|file| file == Path::new("anon_inode:inotify")));
        command.starts_with(PLYFS) && *pid != running.child.id() && waits
    };
    let Some(keeper) = running.processes().into_iter().find(is_daemon) else {
        return skip(test, "the kernel's overlay does not serve a mount here");
    };
    kill_process(
        Pid::from_raw(keeper.try_into().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    let at = world.path("mnt");
    fs::create_dir(&at).unwrap();
    let (_, line) = fail(world.plyfs(["mount", "--container", "kept"]).arg(&at));
    assert!(line.contains("in use"), "{line}");
    assert!(world.store("containers/kept/upper/dev").exists());
    running.signal_all(Signal::TERM);
    running.end();
    running.assert_all_gone();
}

#[test]
fn a_place_that_cannot_be_removed_is_not_forgotten() {
    let test = this_test!();
    let Some(world) = world_without_places(test) else {
        return;
    };
    let mut running = keep(
        &world,
        "auto",
        "echo ready; while :; do read -t 60 <>/dev/ptmx; done",
    );
    running.wait_for_line("ready");
    running.signal_all(Signal::KILL);
    running.end();
    running.assert_all_gone();
    assert_unused(&world);
    let dev = world.store("containers/kept/upper/dev");
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&dev).output();
    if !chattr("+i").is_ok_and(|output| output.status.success()) {
        return skip(test, "chattr(1) cannot make a directory immutable here");
    }
    let (_, line) = fail(&mut world.plyfs(["commit", "kept", "made"]));
    assert!(chattr("-i").unwrap().status.success());
    assert!(line.contains("/dev: Operation not permitted"), "{line}");
    assert_eq!(succeed(&mut world.plyfs(["diff", "kept"])), "");
    succeed(&mut world.plyfs(["commit", "kept", "made"]));
    assert!(!dev.exists());
}

/// There the parent of the daemon has no number: the daemon is the first process.
#[test]
fn a_run_as_the_first_of_a_pid_namespace_begins() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let run = script(&world, &[], "echo begun");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid"]);
    command.arg(run.get_program()).args(run.get_args());
    command.envs(
        run.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    assert_eq!(succeed(&mut command), "begun\n");
}

#[test]
fn a_removed_name_of_the_image_is_listed_while_something_is_mounted_there() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = world.path("mnt");
    fs::create_dir(&at).unwrap();
    let mut mount = world.plyfs(["mount", "--container", "kept", "box:test"]);
    succeed(mount.arg(&at));
    fs::remove_dir(at.join("tmp")).unwrap();
    succeed(world.plyfs(["umount"]).arg(&at));
    let mark = world.path("").display().to_string();
    let text = format!(": {mark}; echo ready; while :; do read -t 60 <>/dev/ptmx; done");
    let mut command = world.plyfs(["run", "--tmpfs", "/tmp", "--container", "kept"]);
    command.args(["bash", "-c", &text]);
    let mut running = Background::start(&mut command, &mark);
    running.wait_for_line("ready");
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    running.signal_all(Signal::TERM);
    running.end();
    assert!(changes.contains("D /tmp\n"), "{changes}");
}

/// A name that the container removed from its image is not back when the place is removed.
#[test]
fn a_place_where_a_file_of_the_image_was_removed_shows_none_afterwards() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let volume = world.path("volume");
    fs::create_dir(&volume).unwrap();
    let volume = format!("{}:/etc/text", volume.display());
    let at = world.path("mnt");
    fs::create_dir(&at).unwrap();
    let mut mount = world.plyfs(["mount", "--container", "kept", "box:test"]);
    succeed(mount.arg(&at));
    fs::remove_file(at.join("etc/text")).unwrap();
    succeed(world.plyfs(["umount"]).arg(&at));
    let mut command = world.plyfs([
        "run",
        "-v",
        &volume,
        "--container",
        "kept",
        "bash",
        "-c",
        "[[ -d /etc/text ]]",
    ]);
    succeed(&mut command);
    let changes = succeed(&mut world.plyfs(["diff", "kept"]));
    assert!(changes.contains("D /etc/text"), "{changes}");
}

#[test]
fn places_below_a_link_of_the_image_are_removed() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let layer = Layer::new([
        Entry::dir("run"),
        Entry::dir("var"),
        Entry::symlink("var/run", "/run"),
    ]);
    assert_place_goes(&world, layer, "/var/run/new", "[[ -d /run/new ]]");
}

#[test]
fn another_user_can_open_standard_output_by_its_name() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    if !has_ids() {
        return skip(test, "this user has no subordinate ids");
    }
    let text = "echo out >/dev/stdout; [[ $(</dev/stdin) == in ]]";
    let mut child = script(&world, &["--user", "joe"], text)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(crate::support::text(&output.stdout), "out\n");
}

#[test]
fn nothing_is_made_in_a_directory_that_is_mounted_on_dev() {
    let Some(world) = world(this_test!()) else {
        return;
    };
    let dir = world.path("dev");
    fs::create_dir(&dir).unwrap();
    // What is mounted inside of it needs places.
    let places = ["mqueue", "pts", "shm"];
    let volume = format!("{}:/dev", dir.display());
    said_nothing(&world, &["--volume", &volume], "true");
    assert!(
        crate::support::world::names(&dir)
            .iter()
            .all(|name| places.contains(&name.as_str()))
    );
}

/// A program in a container that waits for its standard input.
fn running(world: &World, options: &[&str], text: &str) -> Background {
    // Every store is in a directory of a name of its own.
    let mark = world.path("").display().to_string();
    let mut command = script(world, options, &format!(": {mark}; {text}"));
    Background::start(&mut command, &mark)
}

/// The first process of the container, as it is numbered outside: a child of the process that plyfs has
/// between it and itself.
fn first_process(running: &Background) -> Pid {
    let children = |pid: &str| {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(path).unwrap();
        children
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let of_plyfs = children(&running.child.id().to_string());
    let mut below = of_plyfs.iter().flat_map(|pid| children(pid));
    let is_bash = |child: &String| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "bash\n")
    };
    let found = below.find(is_bash);
    Pid::from_raw(found.unwrap().parse().unwrap()).unwrap()
}

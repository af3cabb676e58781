//! What is live in a store: mounts in other namespaces, and running containers, with their processes.
//!
//! A namespace is opened by `plyfs unshare`, and ends with its command; the mounts in it stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::*;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, LiveKind, LiveRequest, ProcessId, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BACKENDS: [&str; 2] = ["fuse", "kernel"];

/// Set for the process that stands for a `plyfs run`: the directory of the world.
const ATTEND: &str = "PLYFS_TEST_ATTEND";

/// A store with the image `box:test`, or a skipped test.
fn world(test: &str) -> Option<World> {
    if let Some(why) = cannot_mount() {
        skip(test, &why);
        return None;
    }
    let world = World::new();
    let layer = |name: &str| Layer::new([Entry::dir("."), Entry::file(name, name)]);
    let image = ImageBuilder::new()
        .layer(layer("a"), Compression::Gzip)
        .layer(layer("b"), Compression::Gzip);
    let source = world.layout("box", &image);
    succeed(&mut world.plyfs(["import", &source]));
    Some(world)
}

fn place(world: &World, name: &str) -> PathBuf {
    let place = world.path(name);
    fs::create_dir_all(&place).unwrap();
    place
}

/// A shell script in a namespace of its own. `$0` is the program.
fn unshare(world: &World, script: &str, arguments: &[&str]) -> Command {
    let mut command = plyfs(["unshare", "sh", "-c", script, PLYFS]);
    command.args(arguments).env("PLYFS_STORE", world.store(""));
    command
}

/// Mounts in a namespace that no other process is in afterwards. Returns whether this backend can.
fn strand(test: &str, world: &World, backend: &str, what: &[&str], at: &Path) -> bool {
    let script = "backend=$1; shift; \"$0\" mount -q --backend $backend \"$@\" && \
                  { for at; do :; done; echo data >\"$at/new\" || :; } 2>/dev/null";
    let mut arguments = vec![backend];
    arguments.extend(what);
    arguments.push(at.to_str().unwrap());
    let output = unshare(world, script, &arguments).output().unwrap();
    let said = text(&output.stderr);
    if backend == "kernel" && said.contains("cannot serve this mount") {
        skip(&format!("{test} (kernel)"), said.trim_end());
        return false;
    }
    assert!(output.status.success(), "{said}");
    assert!(!is_mounted(at), "it is not seen outside");
    true
}

fn listed(world: &World) -> Vec<Value> {
    let said = succeed(&mut world.plyfs(["ps", "--json"]));
    serde_json::from_str(&said).unwrap()
}

/// What ps shows of a name.
fn row(world: &World, name: &str) -> Value {
    let mut listed = listed(world).into_iter();
    listed.find(|row| row["name"] == name).unwrap()
}

fn pid(row: &Value) -> Pid {
    Pid::from_raw(row["pid"].as_i64().unwrap().try_into().unwrap()).unwrap()
}

/// One that has ended keeps its number until its parent has asked how.
fn is_alive(pid: Pid) -> bool {
    ProcessId::of(pid).is_ok_and(|process| process.open().is_some())
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Nothing is in use, and no record is left.
fn assert_nothing_live(world: &World) {
    assert!(listed(world).iter().all(|row| row["in_use"] == false));
    assert_eq!(world.names("live"), [""; 0]);
}

#[test]
fn a_mount_stranded_in_an_ended_unshare_can_be_unmounted_from_outside() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        for by_name in [false, true] {
            let name = format!("{backend}-{by_name}");
            let what = ["--container", &name, "box:test"];
            if !strand(test, &world, backend, &what, &at) {
                continue;
            }
            let daemon = pid(&row(&world, &name));
            assert!(is_alive(daemon));
            let mut umount = world.plyfs(["umount"]);
            match by_name {
                true => umount.arg(&name),
                false => umount.arg(&at),
            };
            succeed(&mut umount);
            assert!(!is_alive(daemon));
            assert_nothing_live(&world);
            let new = world.store(&format!("containers/{name}/upper/new"));
            assert_eq!(fs::read_to_string(new).unwrap(), "data\n");
            succeed(&mut world.plyfs(["rm", &name]));
        }
    }
    let (_, line) = fail(world.plyfs(["umount"]).arg(&at));
    assert!(line.contains("cannot unmount"), "{line}");
}

#[test]
fn a_stranded_mount_can_be_unmounted_from_another_unshare() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if strand(test, &world, backend, &["--ro", "box:test"], &at) {
            let daemon = pid(&listed(&world)[0]);
            succeed(&mut unshare(
                &world,
                "\"$0\" umount \"$1\"",
                &[at.to_str().unwrap()],
            ));
            assert!(!is_alive(daemon));
            assert_nothing_live(&world);
        }
    }
}

/// Inside, a mount of the outer namespace is there and cannot be unmounted (mount_namespaces(7)).
#[test]
fn a_mount_of_the_outer_namespace_can_be_unmounted_in_an_unshare() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        let at = place(&world, "mnt");
        let at = at.to_str().unwrap();
        succeed(&mut world.plyfs(["mount", "-q", "--container", "c", "box:test", at]));
        let daemon = pid(&row(&world, "c"));
        let mut inner = Command::new("unshare");
        inner.args(["--user", "--map-root-user", "--mount", PLYFS, "--store"]);
        inner.arg(world.store("")).args(["umount", at]);
        let output = inner.output().unwrap();
        // The inner namespace had a copy, which went with it.
        wait_until("the daemon ends", || !is_alive(daemon));
        assert!(!is_mounted(Path::new(at)), "{}", text(&output.stderr));
        assert_nothing_live(&world);
    });
}

#[test]
fn ps_shows_mounts_of_other_namespaces_with_their_process() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let (one, two) = (place(&world, "one"), place(&world, "two"));
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &one,
        ) {
            continue;
        }
        assert!(strand(test, &world, backend, &["--ro", "box:test"], &two));
        let rows = listed(&world);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(rows[0]["name"], "c");
        for (row, at) in rows.iter().zip([&one, &two]) {
            assert_eq!(row["status"], "mounted");
            assert_eq!(row["in_use"], true);
            assert_eq!(row["image"], "box:test");
            assert_eq!(row["target"], at.to_str().unwrap());
            assert_eq!(row["here"], false);
            assert_eq!(row["backend"], backend);
            for namespace in ["mnt", "user"] {
                use std::os::unix::fs::MetadataExt;
                let path = format!("/proc/{}/ns/{namespace}", pid(row));
                // Of a process in another user namespace that may be kept back.
                if let Ok(ns) = fs::metadata(path) {
                    assert_eq!(row["namespace"][namespace], ns.ino());
                }
            }
        }
        let table = succeed(&mut world.plyfs(["ps"]));
        for (row, at) in rows.iter().zip([&one, &two]) {
            let wanted = format!("mounted on {} (another mount namespace)", at.display());
            let line = table.lines().find(|line| line.contains(&wanted)).unwrap();
            assert!(line.ends_with(&format!("  {}", pid(row))), "{table}");
        }
        for at in [&one, &two] {
            succeed(world.plyfs(["umount"]).arg(at));
        }
        succeed(&mut world.plyfs(["rm", "c"]));
        assert_nothing_live(&world);
    }
}

/// The process that mounts is not the one that serves: the record must name the latter.
#[test]
fn ps_names_the_daemon_and_not_the_command_that_mounted() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        let at = place(&world, "mnt");
        succeed(
            world
                .plyfs(["mount", "-q", "--container", "c", "box:test"])
                .arg(&at),
        );
        let row = row(&world, "c");
        assert_eq!(pid(&row), daemon_of(&at).unwrap());
        assert_eq!(row["here"], true);
        let table = succeed(&mut world.plyfs(["ps"]));
        assert!(
            table.contains(&format!("mounted on {}  ", at.display())),
            "{table}"
        );
        succeed(&mut world.plyfs(["umount", "c"]));
        assert!(!is_mounted(&at));
        assert_nothing_live(&world);
    });
}

#[test]
fn a_directory_that_is_mounted_on_in_two_namespaces_is_not_guessed() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for name in ["one", "two"] {
        assert!(strand(
            test,
            &world,
            "fuse",
            &["--container", name, "box:test"],
            &at
        ));
    }
    let (_, line) = fail(world.plyfs(["umount"]).arg(&at));
    for name in ["one", "two"] {
        let daemon = pid(&row(&world, name));
        let wanted = format!("{name} (box:test) by process {daemon}");
        assert!(line.contains(&wanted), "{line}");
        assert!(is_alive(daemon));
    }
    for name in ["one", "two"] {
        succeed(&mut world.plyfs(["umount", name]));
    }
    assert_nothing_live(&world);
}

#[test]
fn what_is_in_use_names_its_process_and_how_to_end_it() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let (at, other) = (place(&world, "mnt"), place(&world, "other"));
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let wanted = format!(
            "the container \"c\" is in use: mounted on {} by process {} in another mount \
             namespace; end that first (\"plyfs umount c\")",
            at.display(),
            pid(&row(&world, "c"))
        );
        let other = other.to_str().unwrap();
        let mount = format!("\"$0\" mount --container c {other}");
        for mut command in [
            world.plyfs(["rm", "c"]),
            world.plyfs(["commit", "c", "x:1"]),
            world.plyfs(["run", "--container", "c", "box:test", "sh"]),
            unshare(&world, &mount, &[]),
        ] {
            let (_, line) = fail(&mut command);
            assert!(line.contains(&wanted), "{command:?}: {line}");
        }
        let (_, line) = fail(&mut world.plyfs(["rm", "c"]));
        assert!(line.ends_with(", or remove it with rm --force"), "{line}");
        succeed(&mut world.plyfs(["rm", "--force", "c"]));
    }
}

#[test]
fn rm_force_ends_what_uses_a_container() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let daemon = pid(&row(&world, "c"));
        assert_eq!(succeed(&mut world.plyfs(["rm", "--force", "c"])), "c\n");
        assert!(!is_alive(daemon));
        assert_eq!(world.names("containers"), [""; 0]);
        assert_nothing_live(&world);
    }
    let (_, line) = fail(&mut world.plyfs(["rm", "c"]));
    assert!(line.contains("there is no container \"c\""), "{line}");
    // As in Podman, what is not there is gone.
    assert_eq!(succeed(&mut world.plyfs(["rm", "--force", "c"])), "");
}

#[test]
fn a_killed_daemon_leaves_no_live_record() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let daemon = pid(&row(&world, "c"));
        kill_process(daemon, Signal::KILL).unwrap();
        wait_until("the daemon ends", || listed(&world)[0]["in_use"] == false);
        assert_nothing_live(&world);
        succeed(&mut world.plyfs(["rm", "c"]));
    }
}

#[test]
fn stop_unmounts_what_is_only_mounted() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        if !strand(
            test,
            &world,
            backend,
            &["--container", "c", "box:test"],
            &at,
        ) {
            continue;
        }
        let (status, line) = fail(&mut world.plyfs(["kill", "c"]));
        assert!(status == 125 && line.contains("only running"), "{line}");
        assert_eq!(succeed(&mut world.plyfs(["stop", "c"])), "c\n");
        assert_nothing_live(&world);
        // As in Podman, what does not run is stopped.
        assert_eq!(succeed(&mut world.plyfs(["stop", "c"])), "c\n");
        let (status, line) = fail(&mut world.plyfs(["kill", "c"]));
        assert!(status == 125 && line.contains("does not run"), "{line}");
        succeed(&mut world.plyfs(["rm", "c"]));
    }
    let (status, line) = fail(&mut world.plyfs(["stop", "c"]));
    assert!(
        status == 125 && line.contains("no container \"c\""),
        "{line}"
    );
}

/// The daemon detaches it: it cannot know before whether that is in use elsewhere.
#[test]
fn what_is_still_used_in_another_namespace_is_said() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for backend in BACKENDS {
        for lazy in [false, true] {
            let script = "\"$0\" mount -q --backend \"$1\" --container c box:test \"$2\" && \
                          cd \"$2\" && exec cat";
            let mut inner = unshare(&world, script, &[backend, at.to_str().unwrap()])
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let is_mounted = || listed(&world).iter().any(|row| row["in_use"] == true);
            while !is_mounted() && inner.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            if backend == "kernel" && inner.try_wait().unwrap().is_some() {
                skip(&format!("{test} (kernel)"), "it cannot serve this mount");
                break;
            }
            let cwd = || fs::read_link(format!("/proc/{}/cwd", inner.id()));
            // A process in another user namespace keeps it back; then time has to do.
            wait_until("it is there", || cwd().map_or(true, |cwd| cwd == at));
            std::thread::sleep(Duration::from_millis(100));
            let daemon = pid(&row(&world, "c"));
            let start = Instant::now();
            let mut umount = world.plyfs(["umount"]);
            if lazy {
                succeed(umount.arg("--lazy").arg(&at));
                assert!(start.elapsed() < Duration::from_secs(3));
            } else {
                let (_, line) = fail(umount.arg(&at));
                let wanted =
                    format!("something still uses it in its mount namespace; process {daemon}");
                assert!(line.contains(&wanted), "{line}");
            }
            assert!(is_alive(daemon));
            drop(inner.stdin.take());
            inner.wait().unwrap();
            wait_until("the daemon ends", || !is_alive(daemon));
            assert_nothing_live(&world);
        }
    }
    world.plyfs(["rm", "c"]).output().unwrap();
}

/// Whatever is killed, and whenever, leaves a stale file at most, and listing removes that.
#[test]
fn a_mount_that_is_killed_at_any_moment_leaves_no_live_record() {
    let test = this_test!();
    let Some(world) = world(test) else { return };
    let at = place(&world, "mnt");
    for round in 0..40 {
        let script =
            "exec \"$0\" mount --foreground -q --backend fuse --container c box:test \"$1\"";
        let mut command = unshare(&world, script, &[at.to_str().unwrap()]);
        let mut mount = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        mount.kill().unwrap();
        mount.wait().unwrap();
        assert_nothing_live(&world);
        if round % 8 == 7 {
            // Neither is anything in the way of the next one.
            assert!(strand(
                test,
                &world,
                "fuse",
                &["--container", "c", "box:test"],
                &at
            ));
            succeed(&mut world.plyfs(["stop", "c"]));
        }
    }
    assert_nothing_live(&world);
}

#[test]
fn a_store_that_is_read_only_can_be_mounted_from() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        let (store, at) = (world.store(""), place(&world, "mnt"));
        succeed(Command::new("mount").arg("--bind").args([&store, &store]));
        succeed(
            Command::new("mount")
                .args(["-o", "remount,bind,ro"])
                .arg(&store),
        );
        let output = world.plyfs(["mount", "--ro", "box:test"]).arg(&at).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "a");
        assert_eq!(listed(&world).len(), 0);
        succeed(world.plyfs(["umount"]).arg(&at));
        succeed(Command::new("umount").arg(&store));
    });
}

#[test]
fn a_store_of_an_older_version_is_mounted_from() {
    let test = this_test!();
    inside(test, || {
        let Some(world) = world(test) else { return };
        fs::remove_dir(world.store("live")).unwrap();
        assert_eq!(listed(&world).len(), 0);
        let at = place(&world, "mnt");
        succeed(world.plyfs(["mount", "--ro", "box:test"]).arg(&at));
        assert_eq!(listed(&world).len(), 1);
        succeed(world.plyfs(["umount"]).arg(&at));
        assert_nothing_live(&world);
    });
}

#[test]
fn what_is_mounted_here_is_unmounted_without_a_store() {
    inside(this_test!(), || {
        let mut stack = Stack::new(1);
        stack.mount();
        let mut umount = plyfs(["umount"]);
        for name in ["HOME", "XDG_DATA_HOME", "PLYFS_STORE"] {
            umount.env_remove(name);
        }
        succeed(umount.arg(stack.merged("")));
        assert!(!is_mounted(&stack.merged("")));
    });
}

/// Stands for a `plyfs run` in tests of what it is asked for: it has the record of a container, holds its lock, and
/// ends with the first process of that.
#[test]
fn attend_to_a_container() {
    let Some(store) = std::env::var_os(ATTEND) else {
        return;
    };
    let store = Store::open_existing(PathBuf::from(store)).unwrap();
    let container = store.container(&"c".parse().unwrap()).unwrap();
    let _lock = container.lock().unwrap();
    let request = LiveRequest {
        command: vec!["cat".to_owned(), "-".to_owned()],
        ..LiveRequest::of_container(LiveKind::Run, &container, false)
    };
    let mut entry = store.register(request).unwrap();
    // It ends with this process, too, which has the other end of the pipe.
    let mut first = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let init = ProcessId::of(Pid::from_child(&first)).unwrap();
    entry.update(|record| record.init = Some(init)).unwrap();
    let input = first.stdin.take();
    first.wait().unwrap();
    drop((entry, input));
}

/// Starts that process, for the container `c`.
fn attend(world: &World, ignores_term: bool) -> Child {
    let this = std::env::current_exe().unwrap();
    let prelude = if ignores_term { "trap '' TERM; " } else { "" };
    let mut command = Command::new("sh");
    let test = name_of(attend_to_a_container);
    let script = format!("{prelude}exec \"$0\" --exact {test} --test-threads=1");
    command
        .args(["-c", &script])
        .arg(this)
        .env(ATTEND, world.store(""))
        .stdout(Stdio::null());
    let child = command.spawn().unwrap();
    let is_running = || {
        let store = Store::open_existing(world.store("")).unwrap();
        let record = store.live_of("c").unwrap();
        record.is_some_and(|record| record.init.is_some())
    };
    wait_until("it is registered", is_running);
    child
}

/// A store with the container `c`.
fn world_with_container(test: &str) -> Option<World> {
    let world = world(test)?;
    let at = place(&world, "mnt");
    assert!(strand(
        test,
        &world,
        "fuse",
        &["--container", "c", "box:test"],
        &at
    ));
    succeed(world.plyfs(["umount"]).arg(&at));
    Some(world)
}

#[test]
fn a_running_container_is_listed_stopped_and_killed() {
    let test = this_test!();
    let Some(world) = world_with_container(test) else {
        return;
    };
    let mut running = attend(&world, false);
    let row = row(&world, "c");
    assert_eq!(row["status"], "running");
    assert_eq!(row["command"], serde_json::json!(["cat", "-"]));
    assert_eq!(pid(&row), Pid::from_child(&running));
    let (_, line) = fail(&mut world.plyfs(["rm", "c"]));
    let wanted = format!("process {} runs cat in it", running.id());
    assert!(line.contains(&wanted), "{line}");
    let (_, line) = fail(&mut world.plyfs(["umount", "c"]));
    assert!(line.contains("\"plyfs stop c\""), "{line}");
    // It does not wait for what it signalled.
    let stopped = std::thread::scope(|scope| {
        let reaper = scope.spawn(|| running.wait().unwrap());
        assert_eq!(succeed(&mut world.plyfs(["stop", "c"])), "c\n");
        reaper.join().unwrap()
    });
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(stopped.signal(), Some(15));
    assert_nothing_live(&world);

    let mut running = attend(&world, false);
    let (status, line) = fail(&mut world.plyfs(["kill", "-s", "NONE", "c"]));
    assert!(status == 2 && line.contains("no signal \"NONE\""), "{line}");
    assert_eq!(succeed(&mut world.plyfs(["kill", "c"])), "c\n");
    // Its first process was killed, and not the one that attends to it and has to clean up.
    assert!(running.wait().unwrap().success());
    assert_nothing_live(&world);

    // What is passed on goes to the process that attends to it, and the rest to the first process.
    for (signal, of_attendant) in [("SIGUSR1", Some(10)), ("PIPE", None), ("RTMIN+1", None)] {
        let mut running = attend(&world, false);
        succeed(&mut world.plyfs(["kill", "--signal", signal, "c"]));
        assert_eq!(running.wait().unwrap().signal(), of_attendant, "{signal}");
    }
    assert_nothing_live(&world);
}

#[test]
fn what_does_not_end_is_killed() {
    let test = this_test!();
    let Some(world) = world_with_container(test) else {
        return;
    };
    for command in [&["stop", "-t", "1", "c"][..], &["rm", "--force", "c"]] {
        let mut running = attend(&world, true);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let reaper = scope.spawn(|| running.wait().unwrap());
            let output = world.plyfs(command).output().unwrap();
            assert_eq!(text(&output.stdout), "c\n", "{}", text(&output.stderr));
            // Its first process was killed, so that it could clean up.
            assert!(reaper.join().unwrap().success());
        });
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_nothing_live(&world);
    }
    assert_eq!(world.names("containers"), [""; 0]);
}

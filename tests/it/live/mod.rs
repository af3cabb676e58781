//! What is live in a store: mounts in other namespaces, and running containers, with their processes.
//!
//! A namespace is opened by `plyfs unshare`, and ends with its command; the mounts in it stay.

mod ending;
mod in_use;
mod records;
mod running;
mod stranded;

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

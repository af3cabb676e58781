//! `plyfs run`.

mod file_systems;
mod kept;
mod places;
mod process;
mod signals;
mod status;
mod streams;

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

fn said_nothing(world: &World, options: &[&str], text: &str) {
    assert_eq!(said(world, options, text), "", "{text}");
}

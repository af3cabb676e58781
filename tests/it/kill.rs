//! `kill -9` at any moment: nothing that was synced is lost, and nothing left behind is in the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use rustix::process::{Signal, kill_process};

const ROUNDS: u64 = 20;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[test]
fn a_killed_daemon_loses_nothing_that_was_synced() {
    inside(this_test!(), || {
        let mut random = Random(7);
        let mut stack = Stack::new(1);
        for i in 0..50 {
            let text = format!("lower {i} ").repeat(1000);
            put(&stack.lower(0, &format!("d{}/f{i}", i % 5)), &text);
        }
        let mut synced: BTreeMap<String, String> = BTreeMap::new();
        for round in 0..ROUNDS {
            stack.mount();
            for (name, content) in &synced {
                let now = fs::read_to_string(stack.merged(name)).unwrap();
                assert_eq!(&now, content, "{name} before round {round}");
            }
            let daemon = daemon_of(&stack.merged("")).unwrap();
            let delay = Duration::from_micros(random.below(200_000));
            let killer = std::thread::spawn(move || {
                std::thread::sleep(delay);
                kill_process(daemon, Signal::KILL).unwrap();
            });
            let mut step = 0;
            while change_and_sync(&stack, &mut random, round, step, &mut synced).is_ok() {
                step += 1;
            }
            killer.join().unwrap();
            succeed(plyfs(["umount"]).arg(stack.merged("")));
        }
        assert!(
            synced.len() > 50,
            "the daemon was killed before anything was done"
        );
        // The upper directory is one for the kernel, too.
        stack.mount_kernel();
        for (name, content) in &synced {
            assert_eq!(
                &fs::read_to_string(stack.merged(name)).unwrap(),
                content,
                "{name}"
            );
        }
    });
}

/// One change, of a new file or one of the lower layer, made durable. An error means that the daemon
/// is gone; what was not synced before that may be the old or the new.
fn change_and_sync(
    stack: &Stack,
    random: &mut Random,
    round: u64,
    step: u64,
    synced: &mut BTreeMap<String, String>,
) -> std::io::Result<()> {
    let lower = random.below(50);
    let name = match random.below(3) {
        0 => format!("d{}/f{lower}", lower % 5),
        1 => format!("new{round}-{step}"),
        _ => format!("d{}/new{round}-{step}", lower % 5),
    };
    let content = format!("round {round} step {step} ").repeat(random.below(500) as usize + 1);
    // Written beside and moved into place, as programs do that want the old or the new.
    let beside = stack.merged(&format!("{name}.tmp"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    drop(file);
    // From here on it may be either.
    let before = synced.remove(&name);
    fs::rename(&beside, stack.merged(&name))?;
    let parent = stack.merged(&name).parent().unwrap().to_owned();
    fs::File::open(parent)?.sync_all()?;
    drop(before);
    synced.insert(name, content);
    Ok(())
}

/// Three layers with a few thousand files.
fn image() -> ImageBuilder {
    let layer = |number: u32| {
        let mut layer = Layer::new([Entry::dir("."), Entry::dir("d")]);
        for i in 0..1500_u32 {
            let content = format!("layer {number} file {i}\n").repeat((i % 300) as usize);
            layer.push(Entry::file(format!("d/{number}-{i}"), content));
        }
        layer
    };
    ImageBuilder::new()
        .layer(layer(1), Compression::Gzip)
        .layer(layer(2), Compression::Zstd)
        .layer(layer(3), Compression::None)
}

#[test]
fn a_killed_import_leaves_a_store_that_works() {
    let tmp = tempfile::tempdir().unwrap();
    let layout = tmp.path().join("layout");
    image().write_oci(&layout, Some("kill:test")).unwrap();
    let source = format!("oci:{}:kill:test", layout.display());
    let import = |store: &Path| {
        // Without subordinate ids, so that what is left can be looked at from outside.
        let mut command = plyfs(["--store", store.to_str().unwrap(), "import", &source]);
        command.args(["--ownership", "override"]);
        command
    };
    let whole = tmp.path().join("whole");
    let start = std::time::Instant::now();
    succeed(&mut import(&whole));
    let mut longest = u64::try_from(start.elapsed().as_micros()).unwrap() + 1000;

    let killed = tmp.path().join("killed");
    let mut random = Random(11);
    let mut ended = 0;
    for round in 0..ROUNDS {
        if round % 5 == 0 && killed.exists() {
            fs::remove_dir_all(&killed).unwrap();
        }
        let mut child = import(&killed).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(longest)));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // The first may have been slow, for whatever reason: others are killed sooner then.
            ended += 1;
            longest = (longest / 2).max(1000);
        }
        // It may have been killed before it made anything.
        if killed.exists() {
            succeed(&mut plyfs(["--store", killed.to_str().unwrap(), "images"]));
        }
    }
    assert!(ended < ROUNDS as u32, "no import was killed in time");
    succeed(&mut import(&killed));
    assert_eq!(fs::read_dir(killed.join("staging")).unwrap().count(), 0);
    let (whole, killed) = (parts(&whole), parts(&killed));
    assert_eq!(
        whole.len(),
        3 + 3 + 2,
        "layers, their blobs, a manifest and a configuration"
    );
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        killed.keys().collect::<Vec<_>>()
    );
    for (name, whole) in &whole {
        manifest::assert_same(whole, &killed[name]);
    }
}

/// What is in a store, apart from the times at which it came there.
fn parts(store: &Path) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    for (kind, tree) in [("layers", "diff"), ("blobs", "")] {
        for entry in fs::read_dir(store.join(kind).join("sha256")).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{kind} {}", path.file_name().unwrap().to_string_lossy());
            let content = match tree {
                "" => plyfs_store::Digest::of(&fs::read(&path).unwrap()).to_string(),
                tree => manifest::describe(&path.join(tree)),
            };
            parts.insert(name, content);
        }
    }
    parts
}

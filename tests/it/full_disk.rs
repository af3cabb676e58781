//! The disk fills up at any moment of any command: it says so in one line, loses nothing and leaves nothing half
//! made, and what is removed then gives its space back.
//!
//! - `PLYFS_FULL_MOMENTS`: how many moments of each command, on each medium; 1 without.
//! - `PLYFS_FULL_SEED`: other moments.
//! - `PLYFS_FULL_TASK`: only commands with this in their names.

pub mod change;
pub mod disk;
pub mod task;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::change::Change;
use self::disk::{Disk, Medium, Template};
use self::task::{Sources, TASKS, Task, on};
use crate::support::file_system::EXT4;
use crate::support::tree::{Facts, assert_same, facts};
use crate::support::world::names;
use crate::support::*;
use serde_json::Value;

fn number(name: &str, default: u64) -> u64 {
    let asked = std::env::var(name);
    asked.map_or(default, |text| text.parse().unwrap())
}

/// What a task takes where there is enough.
#[derive(Debug, Clone, Copy)]
struct Need {
    bytes: u64,
    inodes: u64,
    time: Duration,
}

/// How the disk fills up.
#[derive(Debug, Clone, Copy)]
enum Filling {
    /// So many bytes are free at the start.
    Bytes(u64),
    /// So many inodes are.
    Inodes(u64),
    /// Something else takes everything, so long after the start.
    After(Duration),
}

impl Filling {
    fn random(random: &mut fastrand::Rng, need: &Need) -> Self {
        match random.u8(..8) {
            0 => Self::Bytes(0),
            1 => Self::Inodes(random.u64(..=need.inodes)),
            2..5 => Self::Bytes(random.u64(..=need.bytes)),
            _ => Self::After(need.time.mul_f64(random.f64())),
        }
    }

    fn prepare(self, disk: &Disk) {
        match self {
            Self::Bytes(bytes) => disk.leave(bytes),
            Self::Inodes(inodes) => disk.leave_inodes(inodes),
            Self::After(_) => {}
        }
    }
}

/// Runs a command while the disk fills up.
fn run(command: &mut Command, disk: &Disk, filling: Filling) -> Output {
    filling.prepare(disk);
    let Filling::After(delay) = filling else {
        return command.output().unwrap();
    };
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(delay);
            while !ended.load(Ordering::Relaxed) {
                disk.take_all();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let output = command.output();
        ended.store(true, Ordering::Relaxed);
        output.unwrap()
    })
}

/// What must not change.
struct Before {
    images: BTreeMap<String, String>,
    containers: BTreeMap<Vec<u8>, Facts>,
    out: BTreeMap<Vec<u8>, Facts>,
}

impl Before {
    fn of(disk: &Path) -> Self {
        Self {
            images: images(disk),
            containers: facts(&disk.join("store/containers")),
            out: facts(&disk.join("out")),
        }
    }
}

/// The names of images, and the digests of their manifests.
fn images(disk: &Path) -> BTreeMap<String, String> {
    let said = succeed(&mut on(disk, ["images", "--json"]));
    let images: Vec<Value> = serde_json::from_str(&said).unwrap();
    let text = |image: &Value, key: &str| image[key].as_str().unwrap().to_owned();
    let pair = |image: &Value| (text(image, "name"), text(image, "digest"));
    images.iter().map(pair).collect()
}

/// One task on a disk of its own.
struct Moment<'a> {
    task: Task,
    sources: &'a Sources,
    disk: Disk,
}

impl Moment<'_> {
    fn path(&self) -> std::path::PathBuf {
        self.disk.path()
    }

    fn command(&self) -> Command {
        self.task.command(self.sources, &self.path())
    }

    fn on<const N: usize>(&self, arguments: [&str; N]) -> Command {
        on(&self.path(), arguments)
    }

    /// Gets the store into the state in which the task has something to do.
    fn prepare(&self) {
        if self.task == Task::Repair {
            let layers = self.path().join("store/layers/sha256");
            for layer in names(&layers) {
                for large in ["diff/d-a/large", "diff/d-base/large"] {
                    let file = layers.join(&layer).join(large);
                    if file.exists() {
                        let mut bytes = fs::read(&file).unwrap();
                        bytes[1000] ^= 1;
                        fs::write(&file, bytes).unwrap();
                    }
                }
            }
        }
    }

    fn measure(&self) -> Need {
        self.prepare();
        self.disk.sync();
        let (bytes, inodes, start) = (self.disk.free(), self.disk.free_inodes(), Instant::now());
        let (mut least_bytes, mut least_inodes) = (bytes, inodes);
        let mut child = self.command().stdout(Stdio::piped()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            least_bytes = least_bytes.min(self.disk.free());
            least_inodes = least_inodes.min(self.disk.free_inodes());
            std::thread::sleep(Duration::from_micros(200));
        }
        let time = start.elapsed();
        let output = child.wait_with_output().unwrap();
        assert!(self.is_done(&output), "{}", text(&output.stdout));
        self.end_mount();
        Need {
            // More than was seen at some moment.
            bytes: (bytes - least_bytes) * 5 / 4 + (16 << 10),
            inodes: (inodes - least_inodes) * 5 / 4 + 4,
            time,
        }
    }

    fn end_mount(&self) {
        let at = self.sources.path("mnt");
        if is_mounted(&at) {
            succeed(plyfs(["umount"]).arg(at));
        }
    }

    /// Fills the disk while the task runs, and looks at what it leaves. Whether it succeeded is returned.
    fn pass(&self, filling: Filling) -> bool {
        self.prepare();
        let before = Before::of(&self.path());
        let output = run(&mut self.command(), &self.disk, filling);
        let done = self.is_done(&output);
        self.end_mount();
        self.said(&output, done);
        self.is_whole(&before, done);
        self.removals_free_space(done);
        self.disk.give_back();
        if !done {
            // Nothing left behind is in the way.
            self.again();
        }
        self.all_goes();
        done
    }

    /// Whether a command did all that it was to do.
    fn is_done(&self, output: &Output) -> bool {
        match output.status.code().unwrap() {
            0 => true,
            // Damage was found, and all of it repaired.
            1 => self.task == Task::Repair,
            _ => false,
        }
    }

    fn said(&self, output: &Output, done: bool) {
        let stderr = text(&output.stderr);
        // A mount works without a record that others can list it by.
        let is_warning = self.task == Task::MakeContainer && stderr.lines().count() == 1;
        if done && is_warning {
            assert!(stderr.contains("cannot keep a live record: "), "{stderr}");
            return;
        }
        if done {
            assert_eq!(stderr, "");
            return;
        }
        assert!(!self.task.frees(), "{stderr}");
        if self.task == Task::Repair && output.status.code().unwrap() & 4 != 0 {
            // The report says it of each object.
            let stdout = text(&output.stdout);
            assert!(stdout.contains("No space left on device"), "{stdout}");
            assert_eq!(stderr, "");
            return;
        }
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let full = stderr.contains("No space left on device");
        assert!(stderr.starts_with("plyfs: ") && full, "{stderr}");
    }

    fn check(&self, healthy: bool) {
        let output = self.on(["fsck"]).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.success(), healthy, "{stdout}{stderr}");
        let staging = names(&self.path().join("store/staging"));
        assert_eq!(staging, [""; 0]);
    }

    fn is_whole(&self, before: &Before, done: bool) {
        let at = self.path();
        self.check(self.task != Task::Repair || done);
        let mut now = images(&at);
        let mut expected = before.images.clone();
        if done && self.task == Task::RemoveImage {
            expected.remove("a:test");
        }
        if let Some(image) = self.task.image().filter(|_| done) {
            let digest = now.remove(image).unwrap();
            assert_ne!(Some(&digest), expected.remove(image).as_ref());
        }
        assert_eq!(now, expected);
        self.containers_are(before, done);
        self.layout_is(before, done);
        if done && let Some(source) = self.task.saved(&at) {
            let other = tempfile::tempdir().unwrap();
            let mut import = plyfs(["--store".as_ref(), other.path().as_os_str()]);
            import.args(["import", "--name", "saved", "--ownership", "override"]);
            succeed(import.arg(source));
        }
        if !done {
            for name in ["new", "new.oci", "new.docker"] {
                assert!(!at.join(name).exists(), "{name}");
            }
        }
    }

    fn containers_are(&self, before: &Before, done: bool) {
        let mut now = facts(&self.path().join("store/containers"));
        let mut expected = before.containers.clone();
        for tree in [&mut now, &mut expected] {
            // Its time is that of the last container made.
            tree.remove(&b""[..]);
            // To commit is to look at an overlay, which prepares it.
            tree.retain(|path, _| !path.windows(5).any(|part| part == b"/work"));
            for facts in tree.values_mut() {
                let of_overlay = |name: &[u8]| name.starts_with(b"trusted.overlay.");
                facts.xattrs.retain(|name, _| !of_overlay(name));
            }
        }
        match (self.task, done) {
            (Task::Remove, true) => expected.retain(|path, _| !path.starts_with(b"box")),
            (Task::MakeContainer, true) => now.retain(|path, _| !path.starts_with(b"new")),
            _ => {}
        }
        assert_same(&now, &expected);
    }

    /// What was in a layout stays; what came is whole.
    fn layout_is(&self, before: &Before, done: bool) {
        let mut now = facts(&self.path().join("out"));
        let mut expected = before.out.clone();
        for facts in now.values_mut().chain(expected.values_mut()) {
            if facts.kind == "directory" {
                facts.mtime = (0, 0);
            }
        }
        for (path, facts) in &now {
            let name = String::from_utf8_lossy(path);
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(plyfs_store::Digest::of(&facts.content).hex(), digest);
            }
        }
        if self.task == Task::SaveIntoLayout {
            now.retain(|path, _| expected.contains_key(path));
            if done {
                for tree in [&mut now, &mut expected] {
                    tree.remove(&b"index.json"[..]);
                }
            }
        }
        assert_same(&now, &expected);
    }

    /// With the disk still full.
    fn removals_free_space(&self, done: bool) {
        self.disk.take_all();
        let freed = |arguments: [&str; 2], least: u64| {
            self.disk.sync();
            let full = self.disk.free();
            succeed(&mut self.on(arguments));
            self.disk.sync();
            let free = self.disk.free();
            assert!(free >= full + least, "{arguments:?}: {full} {free}");
        };
        freed(["rm", "other"], 600_000);
        self.disk.take_all();
        let is_there = self.task != Task::CommitAgain || !done;
        freed(["rmi", "b:test"], if is_there { 400_000 } else { 1 });
        self.disk.take_all();
        succeed(&mut self.on(["prune"]));
        self.check(self.task != Task::Repair || done);
    }

    fn again(&self) {
        if self.task == Task::CommitAgain {
            return;
        }
        let output = self.command().output().unwrap();
        assert!(self.is_done(&output), "{}", text(&output.stderr));
        self.end_mount();
        self.check(true);
    }

    fn all_goes(&self) {
        // A document that no image leads to stays for an hour: another tool may be about to name it.
        let blobs = self.path().join("store/blobs/sha256");
        let old = std::time::SystemTime::now() - Duration::from_secs(2 * 60 * 60);
        for blob in names(&blobs) {
            let file = fs::File::options().write(true).open(blobs.join(blob));
            file.unwrap().set_modified(old).unwrap();
        }
        succeed(&mut self.on(["rm", "--all"]));
        for image in images(&self.path()).keys() {
            succeed(&mut self.on(["rmi", image]));
        }
        for dir in ["blobs/sha256", "layers/sha256", "containers", "staging"] {
            let left = names(&self.path().join("store").join(dir));
            assert_eq!(left, [""; 0], "{dir}");
        }
    }
}

fn fill_at_any_moment(name: &str, medium: Medium) {
    let seed = number("PLYFS_FULL_SEED", 1);
    let moments = number("PLYFS_FULL_MOMENTS", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let sources = Sources::new(&mut random);
    let template = Template::new(medium, |at| sources.fill(at, &mut random));
    let moment = |task| Moment {
        task,
        sources: &sources,
        disk: template.disk(),
    };
    let mut report = Vec::new();
    let wanted = std::env::var("PLYFS_FULL_TASK").unwrap_or_default();
    let all = TASKS.into_iter();
    for task in all.filter(|task| format!("{task:?}").contains(&wanted)) {
        let need = moment(task).measure();
        let mut failed = 0;
        for count in 0..moments {
            let filling = Filling::random(&mut random, &need);
            let shown = format!("seed {seed}, {task:?} {count}, {filling:?} of {need:?}");
            let at_work = Shown(&shown);
            failed += u64::from(!moment(task).pass(filling));
            std::mem::forget(at_work);
        }
        report.push(format!("{task:?} {failed}"));
    }
    let line = format!(
        "REPORT {name}: seed {seed}, {moments} moments each, failed: {}\n",
        report.join(", ")
    );
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

/// A mounted container whose disk fills up.
struct Mounted<'a> {
    disk: &'a Disk,
    at: PathBuf,
    options: &'a str,
}

impl Mounted<'_> {
    fn mount(&self) -> Output {
        let mut mount = on(&self.disk.path(), ["mount", "-o", self.options]);
        mount.args(["--container", "box"]).arg(&self.at);
        mount.output().unwrap()
    }

    fn unmount(&self) {
        succeed(plyfs(["umount"]).arg(&self.at));
    }

    /// Changes what is mounted, and repeats what succeeds in `shadow`. Returns how much failed.
    fn change(&self, random: &mut fastrand::Rng, shadow: &Path, changes: usize) -> usize {
        let mut failed = 0;
        for _ in 0..changes {
            let change = Change::random(random, shadow);
            match change.make(&self.at) {
                Ok(()) => change.make(shadow).unwrap(),
                Err(error) if error.kind() == ErrorKind::StorageFull => failed += 1,
                Err(error) => {
                    let here = change.make(shadow).map_err(|error| error.kind());
                    let moved = matches!(change, Change::Rename(..))
                        && error.kind() == ErrorKind::CrossesDevices;
                    assert!(
                        here == Err(error.kind()) || moved,
                        "{change:?}: {error} {here:?}"
                    );
                    if moved && here.is_ok() {
                        let Change::Rename(from, to) = &change else {
                            unreachable!()
                        };
                        Change::Rename(to.clone(), from.clone())
                            .make(shadow)
                            .unwrap();
                    }
                }
            }
        }
        failed
    }

    fn shows(&self, expected: &BTreeMap<Vec<u8>, Facts>) {
        assert_same(&without_times(&self.at), expected);
    }
}

fn without_times(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut all = facts(root);
    all.values_mut().for_each(|facts| facts.mtime = (0, 0));
    all
}

/// Changes a mount while its disk fills up. Returns how many changes failed.
fn change_a_mount(
    disk: &Disk,
    options: &str,
    filling: Filling,
    random: &mut fastrand::Rng,
) -> usize {
    let tmp = tempfile::tempdir().unwrap();
    let (at, shadow) = (tmp.path().join("at"), tmp.path().join("shadow"));
    fs::create_dir(&at).unwrap();
    let mount = Mounted { disk, at, options };
    assert!(mount.mount().status.success());
    succeed(Command::new("cp").arg("-a").args([&mount.at, &shadow]));
    filling.prepare(disk);
    let mut failed = mount.change(random, &shadow, 12);
    if matches!(filling, Filling::After(_)) {
        disk.take_all();
    }
    failed += mount.change(random, &shadow, 25);
    let expected = without_times(&shadow);
    mount.shows(&expected);
    mount.unmount();
    // On the full disk it may not be possible to mount it, but that changes nothing.
    let output = mount.mount();
    if output.status.success() {
        mount.shows(&expected);
        mount.unmount();
    } else {
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("No space left on device"), "{stderr}");
    }
    disk.give_back();
    assert!(mount.mount().status.success());
    mount.shows(&expected);
    mount.unmount();
    disk.take_all();
    let full = disk.free();
    succeed(&mut on(&disk.path(), ["fsck"]));
    succeed(&mut on(&disk.path(), ["rm", "box"]));
    disk.sync();
    assert!(disk.free() >= full + 500_000, "{full} {}", disk.free());
    failed
}

fn fill_below_a_mount(name: &str, medium: Medium) {
    let seed = number("PLYFS_FULL_SEED", 1);
    let moments = number("PLYFS_FULL_MOMENTS", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let sources = Sources::new(&mut random);
    let template = Template::new(medium, |at| sources.fill(at, &mut random));
    let need = Need {
        bytes: 1 << 20,
        inodes: 20,
        time: Duration::ZERO,
    };
    let mut failed = 0;
    for count in 0..moments {
        let all = "redirect_dir=on,metacopy=on,index=on";
        let none = "redirect_dir=off,metacopy=off,index=off";
        let options = [all, none][count as usize % 2];
        let filling = Filling::random(&mut random, &need);
        let shown = format!("seed {seed}, {count}, {filling:?}, {options}");
        let at_work = Shown(&shown);
        failed += change_a_mount(&template.disk(), options, filling, &mut random);
        std::mem::forget(at_work);
    }
    let line = format!("REPORT {name}: seed {seed}, {moments} moments, {failed} changes failed\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

/// Says what was done when a test failed.
struct Shown<'a>(&'a str);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let line = format!("at {}\n", self.0);
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap_or_default();
    }
}

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let name = this_test!();
    inside(name, || match EXT4.cannot() {
        Some(why) => skip(name, &why),
        None => fill_at_any_moment(name, Medium::Ext4),
    });
}

#[test]
fn memory_that_fills_up_loses_nothing() {
    let name = this_test!();
    inside(name, || fill_at_any_moment(name, Medium::Memory));
}

#[test]
fn a_mount_on_a_disk_that_fills_up_shows_what_it_took() {
    let name = this_test!();
    inside(name, || match EXT4.cannot() {
        Some(why) => skip(name, &why),
        None => fill_below_a_mount(name, Medium::Ext4),
    });
}

#[test]
fn a_mount_in_memory_that_fills_up_shows_what_it_took() {
    let name = this_test!();
    inside(name, || fill_below_a_mount(name, Medium::Memory));
}

/// An index that is written in place because there is no space beside it must fit where the old one was.
fn an_index_grows_until_the_disk_is_full(medium: Medium) {
    let mut random = fastrand::Rng::with_seed(1);
    let sources = Sources::new(&mut random);
    let template = Template::new(medium, |at| sources.fill(at, &mut random));
    let disk = template.disk();
    let at = disk.path();
    let mut failed = 0;
    disk.take_all();
    for number in 0..24 {
        let before = images(&at);
        let main = fs::read(at.join("store/index.json")).unwrap();
        let name = format!("name{number}:test");
        let mut import = on(&at, ["import", "--ownership", "override", "--name", &name]);
        import.arg(format!("oci:{}", sources.path("a").display()));
        if import.output().unwrap().status.success() {
            assert!(images(&at).contains_key(&name));
            continue;
        }
        failed += 1;
        assert_eq!(images(&at), before, "{name}");
        assert_eq!(fs::read(at.join("store/index.json")).unwrap(), main);
        succeed(&mut on(&at, ["fsck"]));
    }
    assert!(failed > 0, "the index never reached the end of its blocks");
    for name in images(&at).keys() {
        succeed(&mut on(&at, ["rmi", "--force", name]));
    }
}

#[test]
fn an_index_that_does_not_fit_on_a_disk_stays_as_it_was() {
    let name = this_test!();
    inside(name, || match EXT4.cannot() {
        Some(why) => skip(name, &why),
        None => an_index_grows_until_the_disk_is_full(Medium::Ext4),
    });
}

#[test]
fn an_index_that_does_not_fit_in_memory_stays_as_it_was() {
    let name = this_test!();
    inside(name, || {
        an_index_grows_until_the_disk_is_full(Medium::Memory)
    });
}

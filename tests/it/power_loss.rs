//! The power goes at any moment: what was synced is there, and what was copied up is there as a whole.
//!
//! A file system on a disk that forgets (`power_loss/disk.rs`) holds the layers. While files on the mount
//! are changed the power is lost again and again, and each time what the disk may hold then is mounted,
//! with plyfs and with the kernel's overlay.
//!
//! - `PLYFS_POWER_ROUNDS`: how often, for each file system.
//! - `PLYFS_POWER_SEED`: other moments.

pub mod disk;
pub mod work;

use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use self::disk::Disk;
use self::work::{Work, make_lower, names_in};
use crate::support::file_system::{EXT4, Kind, XFS};
use crate::support::tree::{assert_same, facts};
use crate::support::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Options of plyfs, and those of the kernel for what it leaves.
struct Options {
    plyfs: &'static str,
    kernel: &'static str,
    linked: bool,
}

const PLAIN: Options = Options {
    plyfs: "",
    kernel: "redirect_dir=off,index=off,metacopy=off",
    linked: false,
};

const ALL: Options = Options {
    plyfs: "redirect_dir=on,index=on,metacopy=on",
    kernel: "redirect_dir=on,index=on,metacopy=on",
    linked: true,
};

#[test]
fn what_was_synced_survives_a_loss_of_power_on_ext4() {
    let name = this_test!();
    inside(name, || survive(name, &EXT4, &PLAIN));
}

#[test]
fn redirects_metacopies_and_the_index_survive_a_loss_of_power_on_ext4() {
    let name = this_test!();
    inside(name, || survive(name, &EXT4, &ALL));
}

#[test]
fn what_was_synced_survives_a_loss_of_power_on_xfs() {
    let name = this_test!();
    inside(name, || survive(name, &XFS, &PLAIN));
}

#[test]
fn redirects_metacopies_and_the_index_survive_a_loss_of_power_on_xfs() {
    let name = this_test!();
    inside(name, || survive(name, &XFS, &ALL));
}

fn number(name: &str, default: u64) -> u64 {
    let asked = std::env::var(name);
    asked.map_or(default, |text| text.parse().unwrap())
}

/// Something mounted that goes with the test, whatever becomes of it.
struct Mounted(PathBuf);

impl Mounted {
    fn file_system(kind: &Kind, disk: &Path, at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        kind.mount(disk, &at);
        Self(at)
    }

    fn plyfs(on: &Path, options: &Options) -> Self {
        let (of_layers, at) = layers(on);
        let options = format!("{of_layers},{}", options.plyfs);
        succeed(plyfs(["mount", "-o", &options]).arg(&at));
        Self(at)
    }

    fn kernel(on: &Path, options: &Options) -> Self {
        let (of_layers, at) = layers(on);
        let options = CString::new(format!("{of_layers},{}", options.kernel)).unwrap();
        mount("overlay", &at, "overlay", MountFlags::empty(), &*options).unwrap();
        Self(at)
    }

    fn end(self) {
        // Returns when the daemon, if there is one, has let go of what is below.
        match mount_type(&self.0).as_str() {
            "fuse.plyfs" => drop(succeed(plyfs(["umount"]).arg(&self.0))),
            _ => unmount(&self.0, UnmountFlags::empty()).unwrap(),
        }
        std::mem::forget(self);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let gone = unmount(&self.0, UnmountFlags::DETACH);
        assert!(gone.is_ok() || std::thread::panicking());
    }
}

fn layers(on: &Path) -> (String, PathBuf) {
    let at = |name: &str| on.join(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower"),
        at("upper"),
        at("work")
    );
    (options, on.join("merged"))
}

fn survive(name: &str, kind: &Kind, options: &Options) {
    if let Some(why) = kind.cannot() {
        return skip(name, &why);
    }
    let rounds = number("PLYFS_POWER_ROUNDS", 5);
    let mut random = fastrand::Rng::with_seed(number("PLYFS_POWER_SEED", 1));
    let tmp = tempfile::tempdir().unwrap();
    let image = tmp.path().join("image");
    kind.make(&image, &[]);

    let disk = Disk::of(&image, tmp.path().join("fuse"));
    let below = Mounted::file_system(kind, &disk.path(), tmp.path().join("fs"));
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(below.0.join(name)).unwrap();
    }
    let expected = make_lower(&below.0.join("lower"), options.linked);
    // Copy-up relies on its log, and does not wait.
    assert!(kind.name != "xfs" || shares_blocks(&below.0), "no reflinks");
    let expected = Arc::new(Mutex::new(expected));
    rustix::fs::syncfs(File::open(&below.0).unwrap()).unwrap();
    let merged = Mounted::plyfs(&below.0, options);

    let stop = AtomicBool::new(false);
    let (mut lost, mut written) = (0, 0);
    std::thread::scope(|scope| {
        let work = Work {
            root: merged.0.clone(),
            expected: &expected,
            stop: &stop,
            random: random.fork(),
        };
        scope.spawn(|| work.run());
        // The other thread must end even if this one panics.
        let _stop = StopAtEnd(&stop);
        for round in 0..rounds {
            let observed = expected.clone();
            let observe = move || observed.lock().unwrap().clone();
            let (left, expected) = disk.lose_power(random.u64(..150), observe);
            let (kept, all) = left.write_image(round, &mut random, &image);
            (lost, written) = (lost + all - kept, written + all);
            let at = tmp.path().join(format!("round{round}"));
            let found = Mounted::file_system(kind, &image, at);
            look_at(&found.0, options, &expected, round);
            found.end();
        }
    });
    merged.end();
    below.end();
    let synced = expected.lock().unwrap().synced;
    assert!(
        synced as u64 > rounds,
        "{synced} changes in {rounds} rounds"
    );
    assert!(disk.flushes() > rounds, "the device was not told to flush");
    assert!(lost > 0, "nothing was ever lost");
    let line = format!(
        "REPORT {name}: {rounds} losses of power, {synced} synced changes, {lost} of {written} unflushed writes lost\n"
    );
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

fn shares_blocks(on: &Path) -> bool {
    let at = |name: &str| on.join(name);
    fs::write(at("one"), "x".repeat(8192)).unwrap();
    let (one, other) = (
        File::open(at("one")).unwrap(),
        File::create(at("other")).unwrap(),
    );
    let shared = rustix::fs::ioctl_ficlone(&other, &one).is_ok();
    fs::remove_file(at("one")).unwrap();
    fs::remove_file(at("other")).unwrap();
    shared
}

struct StopAtEnd<'s>(&'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Mounts what was found with both, in turns as the first.
fn look_at(on: &Path, options: &Options, expected: &work::Expected, round: u64) {
    let by_plyfs = || {
        let merged = Mounted::plyfs(on, options);
        expected.check(&merged.0, &format!("plyfs shows, in round {round}"));
        let shown = facts(&merged.0);
        merged.end();
        for dir in ["work", "index"].map(|name| on.join("work").join(name)) {
            let is_left = |name: &String| dir.ends_with("work") || name.starts_with('#');
            let left: Vec<_> = match dir.exists() {
                true => names_in(&dir).into_iter().filter(is_left).collect(),
                false => Vec::new(),
            };
            assert!(left.is_empty(), "{} has {left:?}", dir.display());
        }
        shown
    };
    let by_kernel = || {
        let merged = Mounted::kernel(on, options);
        expected.check(&merged.0, &format!("the kernel shows, in round {round}"));
        let shown = facts(&merged.0);
        merged.end();
        shown
    };
    let (ours, kernels) = match (round + round / 4) % 2 {
        0 => (by_plyfs(), by_kernel()),
        _ => {
            let kernels = by_kernel();
            (by_plyfs(), kernels)
        }
    };
    assert_same(&ours, &kernels);
}

//! Import of a real image, side by side with `skopeo copy` into containers-storage.
//!
//!     PLYFS_REAL_IMAGE=DIR cargo bench --bench import
//!
//! DIR is made by `tests/real-image/build.sh`. The two run in turn, each into an empty store on the
//! file system of DIR; what is printed are medians of whole processes and their ratio. Everything is
//! synced before each run, so that nobody pays for the writes of another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 5;

fn main() {
    let Some(dir) = std::env::var_os("PLYFS_REAL_IMAGE").map(PathBuf::from) else {
        println!("SKIPPED import: PLYFS_REAL_IMAGE does not name a directory");
        return;
    };
    let scratch = dir.join("bench");
    let sources = [
        ("gzip", format!("oci:{}/gzip:test", dir.display())),
        ("zstd", format!("oci:{}/zstd:test", dir.display())),
        (
            "docker-archive",
            format!("docker-archive:{}/docker.tar", dir.display()),
        ),
    ];
    println!("form            plyfs (s)   skopeo (s)  ratio   [min..max of plyfs / of skopeo]");
    for (form, source) in &sources {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..RUNS {
            ours.push(time(&scratch, |dir| plyfs(source, dir)));
            theirs.push(time(&scratch, |dir| skopeo(source, dir)));
        }
        let (ours, theirs) = (Summary::of(ours), Summary::of(theirs));
        println!(
            "{form:15} {:9.2}   {:10.2}  {:5.2}   [{:.2}..{:.2} / {:.2}..{:.2}]",
            ours.median,
            theirs.median,
            ours.median / theirs.median,
            ours.min,
            ours.max,
            theirs.min,
            theirs.max
        );
    }
}

struct Summary {
    min: f64,
    median: f64,
    max: f64,
}

impl Summary {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let seconds = |i: usize| times[i].as_secs_f64();
        Self {
            min: seconds(0),
            median: seconds(times.len() / 2),
            max: seconds(times.len() - 1),
        }
    }
}

fn time(scratch: &Path, command: impl FnOnce(&Path) -> Command) -> Duration {
    clear(scratch);
    std::fs::create_dir(scratch).unwrap();
    assert!(Command::new("sync").status().unwrap().success());
    let mut command = command(scratch);
    command.stdout(Stdio::null());
    let start = Instant::now();
    assert!(command.status().unwrap().success(), "{command:?}");
    let taken = start.elapsed();
    clear(scratch);
    taken
}

/// Removes what a run left, and the mount that containers-storage leaves on its own directory.
fn clear(scratch: &Path) {
    let mut umount = Command::new("umount");
    umount.arg(scratch.join("root/overlay"));
    // Fails where nothing is mounted.
    umount.stderr(Stdio::null()).status().unwrap();
    if scratch.exists() {
        std::fs::remove_dir_all(scratch).unwrap();
    }
}

fn plyfs(source: &str, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plyfs"));
    command.arg("--store").arg(dir.join("store"));
    command.args(["import", source, "--name", "bench:test"]);
    command
}

fn skopeo(source: &str, dir: &Path) -> Command {
    let store = format!(
        "containers-storage:[overlay@{0}/root+{0}/run]localhost/bench:test",
        dir.display()
    );
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "-q", source, &store]);
    command
}

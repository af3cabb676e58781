//! Import of a real image, side by side with `skopeo copy` into containers-storage.
//!
//!     PLYFS_REAL_IMAGE=DIR cargo bench --bench import
//!
//! DIR is made by `tests/real-image/build.sh`. Needs root: each run gets an empty file system of its own,
//! on a loop device over a file in DIR, because removing what a run left can slow the next one down
//! for minutes. The two run in turn; what is printed are medians of whole processes and their ratio.
//! Everything is written out before a run begins. plyfs syncs before it ends, and skopeo does not; so
//! the time of a sync after skopeo is printed, too.

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
    let sources = [
        ("gzip", format!("oci:{}/gzip:test", dir.display())),
        ("zstd", format!("oci:{}/zstd:test", dir.display())),
        (
            "docker-archive",
            format!("docker-archive:{}/docker.tar", dir.display()),
        ),
    ];
    println!(
        "fs    form             plyfs   skopeo   ratio   skopeo+sync   ratio   (medians of {RUNS}, seconds)"
    );
    for kind in ["ext4", "xfs"] {
        for (form, source) in &sources {
            measure(&dir, kind, form, source);
        }
    }
}

fn measure(dir: &Path, kind: &str, form: &str, source: &str) {
    let (mut ours, mut theirs, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (time, _) = in_scratch(dir, kind, |at| plyfs(source, at));
        ours.push(time);
        let (time, with_sync) = in_scratch(dir, kind, |at| skopeo(source, at));
        theirs.push(time);
        synced.push(with_sync);
    }
    let (ours, theirs, synced) = (median(ours), median(theirs), median(synced));
    println!(
        "{kind:5} {form:15} {ours:6.2}   {theirs:6.2}   {:5.2}        {synced:6.2}   {:5.2}",
        ours / theirs,
        ours / synced
    );
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// The time of a command on an empty file system, without and with a sync after it.
fn in_scratch(
    dir: &Path,
    kind: &str,
    command: impl FnOnce(&Path) -> Command,
) -> (Duration, Duration) {
    let (image, at) = (dir.join("bench.img"), dir.join("bench"));
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(8 << 30).unwrap();
    must(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image));
    std::fs::create_dir_all(&at).unwrap();
    must(
        Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&at),
    );
    must(&mut Command::new("sync"));
    let mut command = command(&at);
    command.stdout(Stdio::null());
    let start = Instant::now();
    must(&mut command);
    let taken = start.elapsed();
    must(Command::new("sync").arg("-f").arg(&at));
    let synced = start.elapsed();
    // containers-storage leaves a mount on its own directory.
    let mut inner = Command::new("umount");
    inner.arg(at.join("root/overlay")).stderr(Stdio::null());
    inner.status().unwrap();
    must(Command::new("umount").arg(&at));
    std::fs::remove_file(image).unwrap();
    (taken, synced)
}

fn must(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
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

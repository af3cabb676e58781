//! The comparison anyone can run: plyfs, the kernel's overlay and fuse-overlayfs on the same layers.
//!
//!     cargo bench --bench compare -- [--quick] [--only NAME,..] [--upper tmpfs,ext4,xfs] [--rounds N]
//!                                    [--json FILE] [--svg FILE] [--user|--root] [--list]
//!
//! As root everything is measured, as root and as an ordinary user in a user namespace, on a tmpfs and
//! on file systems made in images on loop devices. An ordinary user measures in a user namespace on a
//! tmpfs. What is not installed is skipped by name. The Debian root that apt-install needs is downloaded
//! with mmdebstrap, if `PLYFS_BENCH_ROOTFS` does not name one, a directory or an archive.
//!
//! The peers take turns, in another order each round, so that what else the machine does meets all of
//! them; what is shown are medians. Each sample is taken on a mount of its own.
//!
//! This program starts itself three times, besides to mount and to be a client. The outermost process only waits and cleans up: it is the
//! one that is left when a measurement fails or is interrupted. Below it, in a mount namespace of its
//! own, one makes the file systems and reports; and for the part of an ordinary user one measures as
//! that, in a user namespace. Mounts go with their namespace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "a measurement prints, and one that cannot go on ends"
)]

mod floor;
mod layers;
mod measure;
mod peers;
mod report;
mod scratch;
mod svg;
mod workloads;

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use plyfs_sys::process::SignalQueue;
use rustix::process::{Pid, Signal};

use layers::{SCRATCH, Scale};
use measure::{Course, Row};
use report::{Circumstances, Report};
use scratch::FileSystem;
use workloads::{Workload, clients};

/// Compares plyfs with the kernel's overlay and fuse-overlayfs
#[derive(Debug, Clone, Parser)]
#[command(name = "compare")]
struct Args {
    /// Do less in each sample, and take fewer of what takes long
    #[arg(long)]
    quick: bool,
    /// Only these workloads; a name with * at its end stands for all that begin so
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// File systems to measure on
    #[arg(long, value_delimiter = ',', default_value = "tmpfs,ext4,xfs")]
    upper: Vec<String>,
    /// Samples of each; at least five tell something
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Write everything that was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw a chart into this file
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Only as an ordinary user
    #[arg(long, conflicts_with = "root")]
    user: bool,
    /// Only as root
    #[arg(long)]
    root: bool,
    /// Print the names of the workloads
    #[arg(long)]
    list: bool,
    /// As `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

/// Set for the process that measures as an ordinary user: where on which file system, and where to
/// write what it has found.
const AS_USER: &str = "PLYFS_BENCH_AS_USER";
/// The ordinary user that root becomes.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let inner = match arguments.split_first() {
        Some((word, rest)) if word == peers::MOUNT_KERNEL => Some(peers::mount_kernel(rest)),
        Some((word, [target])) if word == peers::MOUNT_FLOOR => Some(floor::mount(target.as_ref())),
        Some((word, _)) if word == floor::SERVE => Some(floor::serve()),
        Some((word, rest)) if word == clients::CLIENT => {
            let rest: Vec<String> = rest.iter().map(|s| s.to_string_lossy().into()).collect();
            Some(clients::client(&rest))
        }
        _ => None,
    };
    if let Some(done) = inner {
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let args = Args::parse();
    if args.list {
        for workload in workloads::ALL {
            println!("{:20} {}", workload.id, workload.about);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(to) = std::env::var_os(AS_USER) {
        measure_as_user(&args, Path::new(&to));
        return ExitCode::SUCCESS;
    }
    match std::env::var_os(SCRATCH) {
        Some(scratch) => plan(&args, Path::new(&scratch)),
        None => return supervise(&arguments),
    }
    ExitCode::SUCCESS
}

/// Starts the measurement in a mount namespace, and cleans up after it however it ended.
fn supervise(arguments: &[OsString]) -> ExitCode {
    let scratch = tempfile::Builder::new()
        .prefix("plyfs-bench.")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    // What an ordinary user can run, wherever it was built.
    let programs = [
        ("compare", std::env::current_exe().unwrap()),
        ("plyfs", peers::plyfs_program()),
    ]
    .map(|(name, from)| {
        let to = scratch.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to
    });
    let mut command = Command::new(&programs[1]);
    command
        .args(["unshare", "--"])
        .arg(&programs[0])
        .args(arguments)
        .env(SCRATCH, scratch.path())
        .env("PLYFS_BENCH_PLYFS", &programs[1]);
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    // The terminal interrupts all processes; this one must outlive the others. Only now, since they
    // would inherit that.
    let signals = SignalQueue::block(&[Signal::INT, Signal::TERM, Signal::HUP]).unwrap();
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            // Which may have been told already.
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
    });
    let status = child.wait().unwrap();
    // Daemons of mounts that were not unmounted; their mounts go with them.
    for left in peers::processes_naming(scratch.path()) {
        if let Some(left) = Pid::from_raw(left) {
            rustix::process::kill_process(left, Signal::KILL).ok();
        }
    }
    if let Err(error) = scratch.close() {
        eprintln!("cannot clean up: {error}");
    }
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The workloads that were asked for.
fn chosen(args: &Args) -> Vec<Workload> {
    let wanted = |workload: &&Workload| {
        args.only.is_empty()
            || args.only.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => workload.id.starts_with(start),
                None => workload.id == name,
            })
    };
    let chosen: Vec<Workload> = workloads::ALL.iter().filter(wanted).copied().collect();
    assert!(!chosen.is_empty(), "no workload of that name; see --list");
    chosen
}

/// Without those that lack something here.
fn prepared(chosen: Vec<Workload>, scratch: &Path, skipped: &mut Vec<String>) -> Vec<Workload> {
    let mut ready = chosen;
    ready.retain(|workload| match workload.layers.prepare(scratch) {
        Ok(()) => true,
        Err(why) => {
            skipped.push(format!("{}: {why}", workload.id));
            false
        }
    });
    ready
}

/// Whether this is the machine's own root, and not that of a namespace.
fn is_real_root() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Measures everything that was asked for, and reports.
fn plan(args: &Args, scratch: &Path) {
    let (peers, mut skipped) = peers::find();
    let root = is_real_root();
    let (load_before, drops) = (report::load(), measure::cache_drops());
    // Before anything is measured: some of it takes long, and the network.
    let workloads = prepared(chosen(args), scratch, &mut skipped);
    let mut rows = Vec::new();
    let users = [(true, args.user), (false, args.root)];
    for kind in &args.upper {
        if !root && kind != "tmpfs" {
            skipped.push(format!("{kind}: only root can mount an image of it"));
            continue;
        }
        for (as_root, unwanted) in users {
            if unwanted {
                continue;
            }
            if as_root && !root {
                skipped.push(format!("{kind} as root: this is an ordinary user"));
                continue;
            }
            let file_system = match FileSystem::new(kind, scratch) {
                Ok(made) => made,
                Err(why) => {
                    skipped.push(why);
                    break;
                }
            };
            eprintln!("{kind}, {}", if as_root { "root" } else { "user" });
            rows.extend(if as_root || !root {
                run(args, &workloads, kind, &file_system.at, as_root, &peers)
            } else {
                start_as_user(args, &workloads, kind, &file_system.at)
            });
        }
    }
    let circumstances = Circumstances {
        quick: args.quick,
        rounds: args.rounds,
        load_before,
        cache_drops: measure::cache_drops() - drops,
        skipped,
    };
    let report = Report::new(circumstances, &peers, rows);
    print!("{}", report.table());
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report).unwrap();
        std::fs::write(path, json + "\n").unwrap();
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::draw(&report)).unwrap();
    }
}

fn run(
    args: &Args,
    workloads: &[Workload],
    kind: &str,
    at: &Path,
    is_root: bool,
    peers: &[peers::Peer],
) -> Vec<Row> {
    let dir = at.join("b");
    std::fs::create_dir_all(&dir).unwrap();
    let course = Course {
        file_system: kind,
        dir: &dir,
        is_root,
        peers,
        workloads,
        rounds: args.rounds,
        long_rounds: if args.quick { 3 } else { args.rounds },
        scale: Scale::new(args.quick),
    };
    course.run().unwrap()
}

/// Root measures as an ordinary user by becoming one.
fn start_as_user(args: &Args, workloads: &[Workload], kind: &str, at: &Path) -> Vec<Row> {
    if workloads.is_empty() {
        return Vec::new();
    }
    let own = at.join("user");
    std::fs::create_dir(&own).unwrap();
    chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    // By name, so that nothing is prepared again.
    let only: Vec<&str> = workloads.iter().map(|workload| workload.id).collect();
    let status = Command::new(peers::plyfs_program())
        .args(["unshare", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--upper", kind, "--rounds", &args.rounds.to_string()])
        .args(args.quick.then_some("--quick"))
        .args(["--only", &only.join(",")])
        .env(AS_USER, &own)
        .env("HOME", &own)
        .env("TMPDIR", &own)
        .uid(NOBODY)
        .gid(NOBODY)
        .status()
        .unwrap();
    assert!(status.success(), "measuring as an ordinary user failed");
    measure::read(&own.join("rows.json")).unwrap()
}

fn measure_as_user(args: &Args, own: &Path) {
    let (peers, _) = peers::find();
    let rows = run(args, &chosen(args), &args.upper[0], own, false, &peers);
    let json = serde_json::to_string(&rows).unwrap();
    std::fs::write(own.join("rows.json"), json).unwrap();
}

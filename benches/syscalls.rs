//! What the daemon of plyfs does for each operation: requests of the kernel, and system calls.
//!
//!     cargo bench --bench syscalls [-- NAME..]
//!
//! Prints a table in Markdown. Needs strace(1), and to be allowed to trace. A daemon that is traced is
//! slow, so nothing is timed here; but its work is the same. Requests are counted by what it reads from
//! `/dev/fuse`; a part of one is a request that serves several operations.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "a measurement prints, and one that cannot go on ends; it uses some of the comparison"
)]

#[path = "compare/layers.rs"]
mod layers;
#[path = "compare/peers.rs"]
mod peers;
#[path = "compare/workloads/mod.rs"]
mod workloads;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use layers::{Scale, Store};
use peers::{Kind, Stack};
use workloads::{Place, Watch, Workload};

/// Set for the process in a mount namespace of its own.
const INSIDE: &str = "PLYFS_BENCH_INSIDE";

const WORKLOADS: &[&str] = &[
    "walk-cold",
    "walk-warm",
    "miss-fresh",
    "open-read",
    "read-first",
    "readdir",
    "create",
    "create-4k",
    "rename",
    "unlink",
    "unlink-lower",
    "mkdir",
    "rmdir",
    "symlink",
    "link",
    "chmod",
    "rm-r",
    "write-128",
    "write-seq",
    "read-seq-first",
    "write-random",
    "fsync",
    "copy-up-small",
    "copy-up-chmod",
    "copy-up-chmod-meta",
    "copy-up-byte",
    "git-clone",
    "tar-x",
    "git-status",
    "python",
    "npm-install",
    "compile",
];

/// Few, since each system call costs much when it is traced.
const SCALE: Scale = Scale {
    names: 200,
    dirs: 10,
    stream_mib: 16,
    big_mib: 16,
    many: 100,
};

fn main() {
    if Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("SKIPPED syscalls: strace is not installed");
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let error = Command::new(peers::plyfs_program())
            .args(["unshare", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .exec();
        panic!("{error}");
    }
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    // On a tmpfs if that is what holds temporary files; the calls are the same everywhere.
    let scratch = tempfile::Builder::new()
        .prefix("plyfs-bench.")
        .tempdir()
        .unwrap();
    let store = Store::new(scratch.path().to_owned(), SCALE);
    println!("| operation | requests | system calls besides |");
    println!("|---|---|---|");
    for id in WORKLOADS {
        if !only.is_empty() && !only.iter().any(|name| name == id) {
            continue;
        }
        let workload = workloads::ALL.iter().find(|workload| workload.id == *id);
        let workload = workload.expect("a workload");
        if let Err(why) = workload.layers.prepare(scratch.path()) {
            eprintln!("SKIPPED {id}: {why}");
            continue;
        }
        let counts = count(workload, &store, scratch.path());
        println!("{}", counts.row(id));
    }
}

/// How often something was done.
#[derive(Debug, Default)]
struct Counts {
    operations: usize,
    requests: BTreeMap<String, usize>,
    calls: BTreeMap<String, usize>,
}

fn count(workload: &Workload, store: &Store, scratch: &Path) -> Counts {
    let (peers, _) = peers::find();
    let peer = peers
        .iter()
        .find(|peer| peer.kind == Kind::Plyfs)
        .expect("plyfs");
    let lowers = store.get(workload.layers).unwrap();
    let stack = Stack {
        lowers: &lowers,
        dir: scratch.join("s"),
        options: workload.options,
        userxattr: false,
    };
    let mounted = peer.mount(&stack).unwrap();
    let daemon = mounted.daemon().expect("a daemon");
    let place = Place {
        mounted: &mounted,
        is_root: false,
        scale: SCALE,
        beside: scratch,
    };
    let trace = scratch.join("trace");
    let tracer: Arc<Mutex<Option<Child>>> = Arc::default();
    let mut watch = Watch::default();
    let file = trace.clone();
    watch.bracket = Some(Box::new(move |begins| {
        let mut tracer = tracer.lock().unwrap();
        if begins {
            *tracer = Some(attach(daemon, &file));
        } else if let Some(child) = tracer.take() {
            detach(child);
        }
    }));
    (workload.run)(&place, &mut watch).unwrap();
    let mut counts = parse(&fs::read_to_string(trace).unwrap());
    counts.operations = watch.operations;
    counts
}

/// Starts strace on all threads of a process.
fn attach(daemon: i32, to: &Path) -> Child {
    let tracer = Command::new("strace")
        // Strings in hexadecimal, of which the first bytes tell a request; paths of descriptors.
        .args(["-f", "-qq", "-y", "-xx", "-s", "8", "-o"])
        .arg(to)
        .args(["-p", &daemon.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !threads(daemon).iter().all(|thread| is_traced(thread)) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "strace cannot trace here"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    tracer
}

fn threads(pid: i32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().path()).collect()
}

fn is_traced(thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
}

fn detach(mut tracer: Child) {
    // What was just answered may not have been written down yet.
    std::thread::sleep(Duration::from_millis(50));
    rustix::process::kill_process(Pid::from_child(&tracer), Signal::INT).unwrap();
    tracer.wait().unwrap();
}

fn parse(trace: &str) -> Counts {
    let mut counts = Counts::default();
    // What a thread was in the middle of when another was reported.
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            let start = begun.remove(thread).unwrap_or_default();
            let (_, end) = rest.split_once("resumed>").unwrap_or_default();
            take(&mut counts, start, end);
        } else if let Some((start, _)) = rest.split_once("<unfinished ...>") {
            begun.insert(thread, start);
        } else {
            take(&mut counts, rest, rest);
        }
    }
    counts
}

/// Takes one call, of which `start` has the name and `end` the result.
fn take(counts: &mut Counts, start: &str, end: &str) {
    let Some((name, arguments)) = start.split_once('(') else {
        return;
    };
    let first = arguments.split(',').next().unwrap_or_default();
    let is_device = first.contains(&in_hexadecimal("/dev/fuse"));
    match name {
        "read" if is_device => {
            // The operation is the second word of a request, and the bytes are those after the quote.
            let bytes = end.split_once('"').map_or("", |(_, bytes)| bytes);
            let bytes: Vec<u8> = bytes
                .split("\\x")
                .filter_map(|byte| u8::from_str_radix(byte.get(..2)?, 16).ok())
                .collect();
            if let Some(code) = bytes.get(4) {
                *counts.requests.entry(request(*code)).or_default() += 1;
            }
        }
        "write" | "writev" if is_device => {}
        "restart_syscall" | "rt_sigtimedwait" => {}
        _ if name.contains(' ') || name.starts_with(['+', '-']) => {}
        _ => *counts.calls.entry(known(name).to_owned()).or_default() += 1,
    }
}

/// The name of a system call that is younger than strace(1).
fn known(call: &str) -> &str {
    match call {
        "syscall_0x1cf" => "setxattrat",
        "syscall_0x1d0" => "getxattrat",
        "syscall_0x1d1" => "listxattrat",
        "syscall_0x1d2" => "removexattrat",
        named => named,
    }
}

/// As `strace -xx` writes a path.
fn in_hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// The name of a request (`enum fuse_opcode`).
fn request(code: u8) -> String {
    const NAMES: [(u8, &str); 36] = [
        (1, "LOOKUP"),
        (2, "FORGET"),
        (3, "GETATTR"),
        (4, "SETATTR"),
        (5, "READLINK"),
        (6, "SYMLINK"),
        (8, "MKNOD"),
        (9, "MKDIR"),
        (10, "UNLINK"),
        (11, "RMDIR"),
        (12, "RENAME"),
        (13, "LINK"),
        (14, "OPEN"),
        (15, "READ"),
        (16, "WRITE"),
        (17, "STATFS"),
        (18, "RELEASE"),
        (20, "FSYNC"),
        (21, "SETXATTR"),
        (22, "GETXATTR"),
        (23, "LISTXATTR"),
        (25, "FLUSH"),
        (27, "OPENDIR"),
        (28, "READDIR"),
        (29, "RELEASEDIR"),
        (30, "FSYNCDIR"),
        (34, "ACCESS"),
        (35, "CREATE"),
        (39, "IOCTL"),
        (42, "BATCH_FORGET"),
        (43, "FALLOCATE"),
        (44, "READDIRPLUS"),
        (45, "RENAME2"),
        (46, "LSEEK"),
        (47, "COPY_FILE_RANGE"),
        (52, "STATX"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known == code);
    known.map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}

impl Counts {
    fn row(&self, id: &str) -> String {
        let each = |counts: &BTreeMap<String, usize>| {
            let mut sorted: Vec<_> = counts.iter().collect();
            sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let part = |count: usize| count as f64 / self.operations.max(1) as f64;
            // What happens once in a while is no part of an operation.
            let parts: Vec<String> = sorted
                .into_iter()
                .filter(|(_, count)| part(**count) >= 0.01)
                .map(|(name, count)| format!("{name} {:.2}", part(*count)))
                .collect();
            if parts.is_empty() {
                "none".to_owned()
            } else {
                parts.join(", ")
            }
        };
        let total: usize = self.calls.values().sum();
        let total = total as f64 / self.operations.max(1) as f64;
        format!(
            "| {id} | {} | {total:.2}: {} |",
            each(&self.requests),
            each(&self.calls)
        )
    }
}

//! What a daemon inherits from the process that mounts, and must not keep.
//!
//! A mount serves every process that uses it, so the limits of the shell it was started from must not end the
//! daemon or slow it down: the kernel checks the limits of the process that writes before it sends a request. What is left
//! alone is placement that an administrator chose and that cannot end a mount by itself: control group, affinity,
//! namespaces, and a negative nice value or OOM score.

use std::fs;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getpriority_process, setpriority_process};

/// The masks of files that a daemon makes for itself.
const UMASK: Mode = Mode::RWXG.union(Mode::RWXO);

/// What the limit of open files is raised to where that is allowed and it is lower.
const DESCRIPTORS: u64 = 1 << 16;

/// Limits that end a daemon or make its requests fail, what goes on in spite of them if they cannot be raised,
/// and how the shell sets them.
const LIMITS: [(Resource, &str, &str); 5] = [
    (
        Resource::Fsize,
        "files on the mount cannot grow beyond it",
        "ulimit -f",
    ),
    (
        Resource::Cpu,
        "the mount dies when the daemon has used so much processor time",
        "ulimit -t",
    ),
    (
        Resource::As,
        "the mount dies when the daemon needs more memory",
        "ulimit -v",
    ),
    (
        Resource::Data,
        "the mount dies when the daemon needs more memory",
        "ulimit -d",
    ),
    (Resource::Stack, "", "ulimit -s"),
];

/// Resets what would hurt the users of the mount. Call it before giving up capabilities, with one thread.
pub(crate) fn reset() {
    // A directory that is made for the daemon alone must be one that it can enter.
    rustix::process::umask(UMASK);
    // Beyond the limit write(2) then fails with EFBIG, and the daemon goes on.
    plyfs_sys::process::ignore_file_size_signal();
    for (resource, consequence, command) in LIMITS {
        raise(resource, consequence, command);
    }
    raise_descriptor_limit();
    if let Err(errno) = plyfs_sys::thread::be_ordinary() {
        log::debug!("cannot reset the scheduling policy: {errno}");
    }
    reset_nice();
    reset_oom_score();
}

/// Lifts a limit: altogether with `CAP_SYS_RESOURCE`, else as far as the hard limit allows.
fn raise(resource: Resource, consequence: &str, command: &str) {
    let limit = rustix::process::getrlimit(resource);
    if limit.current.is_none() {
        return;
    }
    let none = Rlimit {
        current: None,
        maximum: None,
    };
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let set = |limit| rustix::process::setrlimit(resource, limit);
    // The hard limit of stacks is rarely set, and 8 MiB of them are plenty: it is not worth a warning.
    if set(none).is_ok() || set(most).is_ok() && limit.maximum.is_none() || consequence.is_empty() {
        return;
    }
    if let Some(maximum) = limit.maximum {
        log::warn!(
            "cannot lift a limit of {maximum} that this process was started with ({command}): {consequence}; \
             mount from a shell without it"
        );
    }
}

/// As many descriptors as are allowed: the cache keeps half of them at most.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = limit.maximum.map(|maximum| maximum.max(DESCRIPTORS));
    let set = |most| {
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        rustix::process::setrlimit(Resource::Nofile, limit)
    };
    if let Err(errno) = set(raised).or_else(|_| set(limit.maximum)) {
        log::debug!("cannot raise the limit of open files: {errno}");
    }
}

/// A daemon that gives way to all others makes every user of its mount wait.
fn reset_nice() {
    let nice = getpriority_process(None);
    if nice.is_ok_and(|nice| nice > 0)
        && let Err(errno) = setpriority_process(None, 0)
    {
        log::debug!("the daemon keeps the nice value it was started with: {errno}");
    }
}

/// A daemon must not be the first process that the kernel ends for memory because its parent asked for
/// that for itself.
fn reset_oom_score() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let score = fs::read_to_string(FILE).ok();
    let score = score.and_then(|score| score.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score > 0)
        && let Err(error) = fs::write(FILE, "0")
    {
        log::debug!("the daemon keeps the OOM score it was started with: {error}");
    }
}

//! Locks are taken in one order, whatever the calls. The test has a process of its own, since it lowers the limit
//! of descriptors.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::*;
use plyfs_fs::types::{SetAttr, SetTime, Timestamp, WriteMode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long one of them may make no step.
const STUCK: Duration = Duration::from_secs(20);

/// A write that opens its file again, one that sets times and one that moves the file: a reader of the place
/// that waits for the times deadlocks with a reader of the place that has them, when another thread wants to
/// change the place.
#[test]
fn writes_times_and_renames_of_one_file_do_not_wait_for_each_other() {
    in_own_process(this_test!(), run_all_at_once);
}

fn run_all_at_once() {
    let limit = Rlimit {
        current: Some(64),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut stack = Stack::new(1);
    // More than are kept open.
    let others: Vec<String> = (0..64).map(|i| format!("other{i}")).collect();
    for other in &others {
        put(&stack.lower(0, other), "other");
    }
    stack.open();
    stack.create("a", "a").unwrap();
    let id = stack.hold("a");
    let ids: Vec<u64> = others.iter().map(|other| stack.hold(other)).collect();

    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    let times = |i: u64| SetAttr {
        mtime: Some(SetTime::At(Timestamp {
            secs: 1_000_000 + i as i64,
            nanos: 0,
        })),
        ..SetAttr::default()
    };
    let fs = stack.fs();
    let root = fs.root();
    let rename = |i: u64| {
        let (from, to) = if i.is_multiple_of(2) {
            ("a", "b")
        } else {
            ("b", "a")
        };
        let (from, to) = ((root, from.as_ref()), (root, to.as_ref()));
        let flags = rustix::fs::RenameFlags::empty();
        fs.rename(from, to, flags, plyfs_fs::MayBlock::Yes).unwrap();
    };
    let jobs: [&(dyn Fn(u64) + Sync); 4] = [
        &|i| assert!(fs.setattr(&me(), id, &times(i)).is_ok()),
        &|_| assert_eq!(fs.write(id, 0, b"x", gathered), Ok(1)),
        &rename,
        &|i| drop(read_node(fs, ids[i as usize % ids.len()])),
    ];
    let (steps, stop) = ([const { AtomicU64::new(0) }; 4], AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (job, steps) in jobs.iter().zip(&steps) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    job(steps.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(3);
        let mut last = steps.each_ref().map(|_| (0, Instant::now()));
        while Instant::now() < end || last.iter().any(|(_, at)| at.elapsed() > STUCK / 10) {
            sleep(Duration::from_millis(20));
            for (steps, last) in steps.iter().zip(&mut last) {
                let now = steps.load(Ordering::Relaxed);
                if now != last.0 {
                    *last = (now, Instant::now());
                } else if last.1.elapsed() > STUCK {
                    // The scope would wait for the other threads.
                    fail_without_waiting("two threads wait for each other");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl};

use super::*;
use crate::latency::burst::{FEW, LONG, MANY, WORTH};
use crate::latency::clock::SILENCE;

/// An observer of a connection that spins, and a second descriptor of that.
fn spinning() -> (Observer, OwnedFd) {
    let device = rustix::pipe::pipe().unwrap().0;
    let observer = Observer::new(device.try_clone().unwrap(), || Some(Way::Spin));
    (observer, device)
}

fn colocating() -> Observer {
    Observer::new(rustix::pipe::pipe().unwrap().0, || Some(Way::Colocate))
}

fn spins(fd: impl AsFd) -> bool {
    fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

fn requests(observer: &Observer, client: u32, count: u32) {
    (0..count).for_each(|_| observer.arrived(client, Work::Little));
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_watcher_sees_to_a_burst_of_requests_until_it_ends() {
    let (observer, device) = spinning();
    for _ in 0..3 {
        requests(&observer, 0, MANY * 2);
        assert!(observer.watcher.get().is_some_and(Option::is_some));
        wait_for(|| observer.burst.begun.load(Ordering::Acquire) == 0);
        assert!(!spins(&device));
    }
}

/// On a busy machine the watcher may end it before another thread sees it.
#[test]
fn the_reader_spins_as_long_as_requests_come() {
    let device = rustix::pipe::pipe().unwrap().0;
    let (burst, seen) = (Burst::default(), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !spins(&device) {
                burst.goes_on(nanoseconds(), 0, Work::Little);
            }
            seen.store(true, Ordering::Relaxed);
        });
        wait_for(|| {
            spin::until_silence(&burst, &device, nanoseconds());
            assert!(!spins(&device));
            seen.load(Ordering::Relaxed)
        });
    });
}

#[test]
fn requests_now_and_then_are_no_burst() {
    let (observer, device) = spinning();
    for _ in 0..4 * FEW {
        observer.arrived(0, Work::Little);
        assert!(!spins(&device));
        std::thread::sleep(2 * SILENCE);
    }
}

/// A listing took longer to make than requests may be apart, so that a walk was no burst.
#[test]
fn listings_may_follow_each_other_more_slowly() {
    let burst = Burst::default();
    let mut now = nanoseconds();
    for _ in 0..FEW + 2 {
        assert!(!burst.is_due());
        burst.goes_on(now, 0, Work::Long);
        now += (LONG / 2).as_nanos() as u64;
        assert!(!burst.has_ended(now));
    }
    assert!(burst.is_due());
    assert!(burst.has_ended(now + (2 * LONG).as_nanos() as u64));
}

#[test]
fn one_pause_does_not_end_a_burst_and_a_few_do() {
    let burst = Burst::default();
    let mut now = nanoseconds();
    for _ in 0..MANY {
        burst.goes_on(now, 0, Work::Little);
    }
    let pauses = (0..).take_while(|_| {
        now += 2 * SILENCE.as_nanos() as u64;
        burst.goes_on(now, 0, Work::Little);
        burst.is_due()
    });
    assert!((1..8).contains(&pauses.count()));
}

#[test]
fn short_and_vain_bursts_make_it_reluctant_and_long_ones_do_not() {
    let burst = Burst::default();
    burst.learn(true, WORTH - 1);
    assert_eq!(burst.needed(), 2 * FEW);
    (0..20).for_each(|_| burst.learn(true, 3));
    assert_eq!(burst.needed(), MANY);
    burst.learn(true, WORTH);
    assert_eq!(burst.needed(), FEW);
    // It served many, and others waited meanwhile, or the client could not be seen.
    (0..20).for_each(|_| burst.learn(false, 10 * WORTH));
    assert_eq!(burst.needed(), MANY);
}

#[test]
fn requests_that_move_much_data_begin_no_burst_on_two_processors() {
    let observer = colocating();
    observer.watcher().unwrap();
    (0..MANY).for_each(|_| observer.arrived(0, Work::Data(LITTLE + 1)));
    assert_eq!(observer.burst.count.load(Ordering::Relaxed), 0);
    observer.arrived(0, Work::Data(LITTLE));
    assert_eq!(observer.burst.count.load(Ordering::Relaxed), 1);
}

/// A watcher that waited for a processor while it held a lock kept the reader waiting, and the daemon from ending.
#[test]
fn the_reader_never_waits_for_the_watcher() {
    let observer = colocating();
    let burst = observer.burst.clone();
    let held = burst.binding.hold();
    requests(&observer, 0, 2 * FEW);
    std::thread::sleep(2 * SILENCE);
    requests(&observer, 0, 2 * FEW);
    drop(observer);
    drop(held);
}

/// The reader is where the client is while there is a burst, and goes where it likes afterwards.
#[test]
fn the_reader_is_bound_to_its_client_until_the_burst_ends() {
    let all = sched_getaffinity(None).unwrap();
    if all.count() != 2 {
        eprintln!(
            "SKIPPED the_reader_is_bound_to_its_client_until_the_burst_ends: {} processors, not two",
            all.count()
        );
        return;
    }
    let (burst, reader) = (Burst::default(), gettid());
    let me = reader.as_raw_nonzero().get() as u32;
    let is_bound = || sched_getaffinity(None).unwrap() != all;
    let much_later = || nanoseconds() + Duration::from_secs(60).as_nanos() as u64;
    for _ in 0..3 {
        std::thread::scope(|threads| {
            burst.goes_on(much_later(), me, Work::Little);
            let watcher = threads.spawn(|| colocate::until_silence(&burst, reader));
            wait_for(is_bound);
            // Threads that it starts are free at once.
            let (tell, told) = std::sync::mpsc::channel();
            let pool = crate::pool::Pool::new("test", 1);
            pool.start().unwrap();
            pool.run(move || tell.send(sched_getaffinity(None)).unwrap());
            assert_eq!(told.recv().unwrap(), Ok(all));
            burst.goes_on(0, me, Work::Little);
            assert!(watcher.join().unwrap());
        });
        assert!(!is_bound());
    }
}

/// On a busy machine the watcher may not run when a burst has ended.
#[test]
fn the_next_request_after_a_pause_frees_the_reader() {
    let all = sched_getaffinity(None).unwrap();
    let observer = colocating();
    let mut one = rustix::thread::CpuSet::new();
    one.set((0..).find(|cpu| all.is_set(*cpu)).unwrap());
    rustix::thread::sched_setaffinity(None, &one).unwrap();
    *observer.burst.binding.hold() = Some(all);
    observer.arrived(0, Work::Little);
    assert_eq!(sched_getaffinity(None), Ok(all));
    assert!(observer.burst.binding.hold().is_none());
}

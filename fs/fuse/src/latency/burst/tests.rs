#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::fd::AsFd;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl};

use super::*;

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
fn the_reader_spins_in_a_burst_of_requests_until_it_ends() {
    let (observer, device) = spinning();
    for _ in 0..3 {
        wait_for(|| {
            requests(&observer, 0, MANY * 2);
            spins(&device)
        });
        wait_for(|| !spins(&device));
    }
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
    let observer = colocating();
    let me = gettid().as_raw_nonzero().get() as u32;
    let is_bound = || sched_getaffinity(None).unwrap() != all;
    for _ in 0..3 {
        wait_for(|| {
            requests(&observer, me, MANY * 2);
            is_bound()
        });
        // Threads that it starts are free at once. It is free when there was silence: the watcher sees to that, or
        // on a busy machine the next request.
        let (tell, told) = std::sync::mpsc::channel();
        let pool = crate::pool::Pool::new("test", 1);
        pool.start().unwrap();
        pool.run(move || tell.send(sched_getaffinity(None)).unwrap());
        assert_eq!(told.recv().unwrap(), Ok(all));
        wait_for(|| {
            std::thread::sleep(2 * SILENCE);
            observer.arrived(me, Work::Little);
            !is_bound()
        });
    }
}

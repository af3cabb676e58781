//! Looking for requests without sleeping in between, while they come one right after the other.
//!
//! Most requests come from a program that waits for each answer before it asks again. A reader that sleeps
//! in between has to be woken for every one of them, and where its processor was halted meanwhile that
//! costs more than the request. So while requests come thick and fast, reads of the connection do not
//! wait (`O_NONBLOCK`), and the library, which tries again at once, finds the next request the moment it
//! is there.
//!
//! - It begins after a number of requests that followed each other quickly, and ends when there was
//!   [`SILENCE`].
//! - Where it soon ended again, it takes more requests to begin the next time: a processor is not to be
//!   kept from others for nothing.
//! - Where there is but one processor, it would keep away whoever it waits for: there is none of it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::time::{ClockId, clock_gettime};

/// Requests further apart than this do not follow each other. It is what a program needs to be woken, to
/// work a little, and to ask again.
const GAP_NANOS: u64 = 100_000;
/// Nobody polls longer than about twice this for a request, and until the watcher gets a processor.
const SILENCE: Duration = Duration::from_micros(200);
const SILENCE_NANOS: u64 = SILENCE.as_nanos() as u64;
/// How many requests must have followed each other, at least and at most.
const FEW: u32 = 16;
const MANY: u32 = 1024;
/// How many must come then, so that what is saved for them is more than what is polled in vain at the end.
const WORTH: u32 = 64;

/// Begins polling, and ends it by a thread that is started the first time. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Polling {
    shared: Arc<Shared>,
    watcher: Mutex<Watcher>,
}

#[derive(Debug)]
enum Watcher {
    NotYet,
    Is(JoinHandle<()>),
    /// Without it there is no polling.
    CannotBe,
}

#[derive(Debug)]
struct Shared {
    device: OwnedFd,
    /// When the last request came, in nanoseconds of a clock that only runs forward.
    last: AtomicU64,
    /// How many requests have come, in a number that wraps.
    count: AtomicU32,
    /// How many of them have followed each other up to now.
    streak: AtomicU32,
    /// How many of those it takes to begin.
    needed: AtomicU32,
    /// Changed while holding the lock.
    polls: AtomicBool,
    closed: Mutex<bool>,
    /// Either of them was set.
    changed: Condvar,
}

impl Polling {
    /// For the one thread that reads requests from this connection. `None` where it is of no use.
    pub(crate) fn of_sole_reader(device: OwnedFd) -> Option<Self> {
        match std::thread::available_parallelism() {
            Ok(processors) if processors.get() > 1 => Some(Self::new(device)),
            _ => None,
        }
    }

    fn new(device: OwnedFd) -> Self {
        let shared = Arc::new(Shared {
            device,
            last: AtomicU64::new(0),
            count: AtomicU32::new(0),
            streak: AtomicU32::new(0),
            needed: AtomicU32::new(FEW),
            polls: AtomicBool::new(false),
            closed: Mutex::new(false),
            changed: Condvar::new(),
        });
        Self {
            shared,
            watcher: Mutex::new(Watcher::NotYet),
        }
    }

    /// Whether there is somebody to end what is begun.
    fn is_watched(&self) -> bool {
        let mut watcher = self.watcher.lock();
        if matches!(*watcher, Watcher::NotYet) {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("plyfs-poll".to_owned());
            *watcher = match thread.spawn(move || shared.watch()) {
                Ok(thread) => Watcher::Is(thread),
                Err(error) => {
                    log::warn!("requests are not polled for: cannot start a thread: {error}");
                    Watcher::CannotBe
                }
            };
        }
        matches!(*watcher, Watcher::Is(_))
    }

    /// A request came. Only ever called by the reader.
    pub(crate) fn request(&self) {
        let shared = &*self.shared;
        let now = nanoseconds();
        let before = shared.last.swap(now, Ordering::Relaxed);
        shared.count.fetch_add(1, Ordering::Relaxed);
        if now.saturating_sub(before) > GAP_NANOS {
            // Whoever asks may be interrupted once in a while.
            let streak = shared.streak.load(Ordering::Relaxed);
            shared.streak.store(streak / 2, Ordering::Relaxed);
        } else {
            let streak = shared.streak.fetch_add(1, Ordering::Relaxed);
            let enough = streak >= shared.needed.load(Ordering::Relaxed);
            if enough && !shared.polls.load(Ordering::Acquire) && self.is_watched() {
                shared.begin();
            }
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        *self.shared.closed.lock() = true;
        self.shared.changed.notify_all();
        let watcher = std::mem::replace(self.watcher.get_mut(), Watcher::CannotBe);
        if let Watcher::Is(thread) = watcher
            && thread.join().is_err()
        {
            log::error!("the thread that watches polling has panicked");
        }
    }
}

impl Shared {
    fn begin(&self) {
        let _locked = self.closed.lock();
        if self.set_waiting(false) {
            self.polls.store(true, Ordering::Release);
            self.changed.notify_all();
        }
    }

    /// Ends polling, whenever it began and its time has come.
    fn watch(&self) {
        let mut closed = self.closed.lock();
        while !*closed {
            if !self.polls.load(Ordering::Acquire) {
                self.changed.wait(&mut closed);
                continue;
            }
            drop(closed);
            let before = self.count.load(Ordering::Relaxed);
            self.wait_for_silence();
            let served = self.count.load(Ordering::Relaxed).wrapping_sub(before);
            self.learn(served);
            closed = self.closed.lock();
            self.set_waiting(true);
            self.polls.store(false, Ordering::Release);
        }
    }

    fn wait_for_silence(&self) {
        loop {
            std::thread::sleep(SILENCE);
            let last = self.last.load(Ordering::Relaxed);
            if nanoseconds().saturating_sub(last) > SILENCE_NANOS {
                return;
            }
        }
    }

    fn learn(&self, served: u32) {
        let needed = self.needed.load(Ordering::Relaxed);
        let next = match served >= WORTH {
            true => FEW,
            false => (needed * 2).min(MANY),
        };
        self.needed.store(next, Ordering::Relaxed);
    }

    /// Whether reads of the connection wait for a request. `false` if that cannot be said.
    fn set_waiting(&self, waiting: bool) -> bool {
        let fd = self.device.as_fd();
        let set = fcntl_getfl(fd).and_then(|mut flags| {
            flags.set(OFlags::NONBLOCK, !waiting);
            fcntl_setfl(fd, flags)
        });
        if let Err(errno) = set {
            log::debug!("cannot change how requests are read: {errno}");
        }
        set.is_ok()
    }
}

fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::time::Instant;

    use super::*;

    /// Something with flags.
    fn device() -> OwnedFd {
        rustix::pipe::pipe().unwrap().0
    }

    fn polls(fd: impl AsFd) -> bool {
        fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    fn wait_for(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_burst_of_requests_is_polled_for_until_it_ends() {
        let device = device();
        let polling = Polling::new(device.try_clone().unwrap());
        for _ in 0..3 {
            wait_for(|| {
                (0..MANY * 2).for_each(|_| polling.request());
                polls(&device)
            });
            wait_for(|| !polls(&device));
        }
    }

    #[test]
    fn requests_now_and_then_are_waited_for() {
        let device = device();
        let polling = Polling::new(device.try_clone().unwrap());
        for _ in 0..4 * FEW {
            polling.request();
            assert!(!polls(&device));
            std::thread::sleep(SILENCE);
        }
    }

    #[test]
    fn short_bursts_make_it_reluctant_and_long_ones_do_not() {
        let polling = Polling::new(device());
        let needed = || polling.shared.needed.load(Ordering::Relaxed);
        polling.shared.learn(WORTH - 1);
        assert_eq!(needed(), 2 * FEW);
        (0..20).for_each(|_| polling.shared.learn(3));
        assert_eq!(needed(), MANY);
        polling.shared.learn(WORTH);
        assert_eq!(needed(), FEW);
    }
}

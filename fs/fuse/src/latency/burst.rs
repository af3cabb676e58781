//! Notices bursts of requests, and starts what makes them faster.
//!
//! The reader never waits for the watcher, which may be waiting for a processor: they share atomics, and a lock
//! that is only tried.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use plyfs_fs::types::LITTLE;
use rustix::process::Pid;
use rustix::thread::{gettid, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::colocate::Binding;
use super::{colocate, spin};

/// A burst ends when no request came for this long. Linux, too, looks for work so long before it halts a
/// processor of a guest that polls (`guest_halt_poll_ns`).
pub(super) const SILENCE: Duration = Duration::from_micros(200);
/// How much longer a client may take to ask again after a request that takes long to serve.
const LONG: Duration = Duration::from_millis(1);
/// How many requests must follow each other to begin a burst: at first, and at most.
const FEW: u32 = 16;
const MANY: u32 = 1024;
/// How many requests in a row are counted. More, and one pause would not end a burst.
const COUNTED: u32 = 16 * FEW;
/// A burst of at least so many requests saves more than its end wastes.
const WORTH: u32 = 64;

/// What a request makes the daemon do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A few system calls.
    Little,
    /// Moves so many bytes.
    Data(usize),
    /// May take longer than a burst is silent: a listing.
    Long,
}

/// What the watcher does in a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Two processors: keeps the reader on the client's.
    Colocate,
    /// More: has the reader look for requests without sleeping.
    Spin,
}

impl Way {
    /// `None` with the time of one processor: the watcher would keep the client from running.
    fn here() -> Option<Self> {
        // A control group may allow no more than that on several processors (cgroups(7)).
        let time = std::thread::available_parallelism().ok()?.get();
        match sched_getaffinity(None).ok()?.count() {
            _ if time == 1 => None,
            2 => Some(Self::Colocate),
            _ => Some(Self::Spin),
        }
    }
}

/// Sees every request of a connection, and starts the watcher when the first burst begins. Dropping it ends the
/// watcher, and does not wait for that.
#[derive(Debug)]
pub struct Observer {
    burst: Arc<Burst>,
    device: Arc<OwnedFd>,
    choose: fn() -> Option<Way>,
    watcher: OnceLock<Option<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    thread: Thread,
    way: Way,
}

impl Observer {
    /// For the only thread that reads requests from this connection.
    pub fn of_sole_reader(device: OwnedFd) -> Self {
        Self::new(device, Way::here)
    }

    fn new(device: OwnedFd, choose: fn() -> Option<Way>) -> Self {
        Self {
            burst: Arc::default(),
            device: Arc::new(device),
            choose,
            watcher: OnceLock::new(),
        }
    }

    /// A request came from this thread of a client, 0 if it has no number here. Only the reader calls it.
    pub fn arrived(&self, client: u32, work: Work) {
        if matches!(work, Work::Data(bytes) if bytes > LITTLE) && self.colocates() {
            // The daemon best moves data beside the client, which goes on meanwhile.
            return;
        }
        let now = nanoseconds();
        if !self.burst.goes_on(now, client, work) {
            self.burst.binding.undo(gettid());
        } else if self.burst.is_due()
            && let Some(watcher) = self.watcher()
        {
            self.burst.begun.store(now, Ordering::Release);
            watcher.thread.unpark();
        }
    }

    fn colocates(&self) -> bool {
        let watcher = self.watcher.get().and_then(Option::as_ref);
        watcher.is_some_and(|watcher| watcher.way == Way::Colocate)
    }

    fn watcher(&self) -> Option<&Watcher> {
        let start = || self.start_watcher((self.choose)()?);
        self.watcher.get_or_init(start).as_ref()
    }

    fn start_watcher(&self, way: Way) -> Option<Watcher> {
        let (burst, device, reader) = (self.burst.clone(), self.device.clone(), gettid());
        let thread = std::thread::Builder::new().name("plyfs-bursts".to_owned());
        match thread.spawn(move || burst.watch(way, &device, reader)) {
            Ok(handle) => Some(Watcher {
                thread: handle.thread().clone(),
                way,
            }),
            Err(error) => {
                log::warn!(
                    "cannot start the polling thread; falling back to blocking reads: {error}"
                );
                None
            }
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.burst.closed.store(true, Ordering::Relaxed);
        if let Some(Some(watcher)) = self.watcher.get() {
            watcher.thread.unpark();
        }
    }
}

/// What reader and watcher share.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Until when the burst goes on without another request, in [`nanoseconds`].
    until: AtomicU64,
    /// How many requests have come, in a number that wraps.
    count: AtomicU32,
    /// The thread that the last one came from.
    client: AtomicI32,
    /// How many have followed each other.
    streak: AtomicU32,
    /// How many it takes to begin, if more than [`FEW`].
    needed: AtomicU32,
    /// When the burst began that the watcher sees to; 0 without one.
    begun: AtomicU64,
    closed: AtomicBool,
    pub(super) binding: Binding,
}

impl Burst {
    /// Counts a request, and returns whether it closely follows the one before it.
    fn goes_on(&self, now: u64, client: u32, work: Work) -> bool {
        let mut pause = SILENCE;
        if work == Work::Long {
            pause += LONG;
        }
        self.client.store(client as i32, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        let until = now + pause.as_nanos() as u64;
        let goes_on = now <= self.until.swap(until, Ordering::Relaxed);
        let streak = self.streak.load(Ordering::Relaxed);
        let most = self.needed().max(COUNTED);
        let streak = match goes_on {
            true => (streak + 1).min(most),
            // A client may be interrupted once in a while.
            false => streak / 2,
        };
        self.streak.store(streak, Ordering::Relaxed);
        goes_on
    }

    fn needed(&self) -> u32 {
        self.needed.load(Ordering::Relaxed).max(FEW)
    }

    /// Whether the watcher should see to a burst, and does not yet.
    fn is_due(&self) -> bool {
        self.streak.load(Ordering::Relaxed) > self.needed()
            && self.begun.load(Ordering::Acquire) == 0
    }

    pub(super) fn has_ended(&self, now: u64) -> bool {
        now > self.until.load(Ordering::Relaxed)
    }

    /// The thread that the last request came from, if it has a number here.
    pub(super) fn client(&self) -> Option<Pid> {
        match self.client.load(Ordering::Relaxed) {
            number if number > 0 => Pid::from_raw(number),
            _ => None,
        }
    }

    fn watch(&self, way: Way, device: &OwnedFd, reader: Pid) {
        if way == Way::Colocate
            && let Err(errno) = colocate::give_way()
        {
            // `begun` stays set, so that no other burst begins.
            return log::debug!("bursts of requests are no faster: {errno}");
        }
        while !self.closed.load(Ordering::Relaxed) {
            let begun = self.begun.load(Ordering::Acquire);
            if begun == 0 {
                std::thread::park();
                continue;
            }
            let before = self.count.load(Ordering::Relaxed);
            let helped = match way {
                Way::Colocate => colocate::until_silence(self, reader),
                Way::Spin => spin::until_silence(self, device, begun),
            };
            let served = self.count.load(Ordering::Relaxed).wrapping_sub(before);
            self.learn(helped, served);
            self.begun.store(0, Ordering::Release);
        }
    }

    /// Makes the next burst begin sooner or later: whether something could be done for one of so many requests.
    fn learn(&self, helped: bool, served: u32) {
        let needed = self.needed();
        let next = match helped {
            true if served >= WORTH => FEW,
            true => needed * 2,
            false => needed * 4,
        };
        self.needed.store(next.min(MANY), Ordering::Relaxed);
        if !helped {
            self.streak.store(0, Ordering::Relaxed);
        }
    }
}

/// The time of a clock that only goes forward.
pub(super) fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests;

//! What is known of the requests that follow each other now.
//!
//! The reader never waits for the watcher, which may be waiting for a processor: they share atomics, and a lock
//! that is only tried.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Pid;

use super::binding::Binding;
use super::clock::SILENCE;

/// How much longer a client may take to ask again after a request that takes long to serve.
pub(super) const LONG: Duration = Duration::from_millis(1);
/// How many requests must follow each other to begin a burst: at first, and at most.
pub(super) const FEW: u32 = 16;
pub(super) const MANY: u32 = 1024;
/// How many requests in a row are counted. More, and one pause would not end a burst.
const COUNTED: u32 = 16 * FEW;
/// A burst of at least so many requests saves more than its end wastes.
pub(super) const WORTH: u32 = 64;

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

/// What reader and watcher share.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Until when the burst goes on without another request, in [`nanoseconds`](super::clock::nanoseconds).
    pub(super) until: AtomicU64,
    /// How many requests have come, in a number that wraps.
    pub(super) count: AtomicU32,
    /// The thread that the last one came from.
    pub(super) client: AtomicI32,
    /// How many have followed each other.
    pub(super) streak: AtomicU32,
    /// How many it takes to begin, if more than [`FEW`].
    pub(super) needed: AtomicU32,
    /// When the burst began that the watcher sees to; 0 without one.
    pub(super) begun: AtomicU64,
    pub(super) closed: AtomicBool,
    pub(super) binding: Binding,
}

impl Burst {
    /// Counts a request, and returns whether it closely follows the one before it.
    pub(super) fn goes_on(&self, now: u64, client: u32, work: Work) -> bool {
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

    pub(super) fn needed(&self) -> u32 {
        self.needed.load(Ordering::Relaxed).max(FEW)
    }

    /// Whether the watcher should see to a burst, and does not yet.
    pub(super) fn is_due(&self) -> bool {
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

    /// Makes the next burst begin sooner or later: whether something could be done for one of so many requests.
    pub(super) fn learn(&self, helped: bool, served: u32) {
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

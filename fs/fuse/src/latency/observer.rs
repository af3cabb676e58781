//! Notices bursts of requests, and starts what makes them faster.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use plyfs_fs::types::LITTLE;
use rustix::process::Pid;
use rustix::thread::{gettid, sched_getaffinity};

use super::burst::{Burst, Work};
use super::clock::nanoseconds;
use super::{colocate, spin};

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
        match thread.spawn(move || watch(&burst, way, &device, reader)) {
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

/// What the watcher does, for as long as the connection lasts.
fn watch(burst: &Burst, way: Way, device: &OwnedFd, reader: Pid) {
    if way == Way::Colocate
        && let Err(errno) = colocate::give_way()
    {
        // `begun` stays set, so that no other burst begins.
        return log::debug!("bursts of requests are no faster: {errno}");
    }
    while !burst.closed.load(Ordering::Relaxed) {
        let begun = burst.begun.load(Ordering::Acquire);
        if begun == 0 {
            std::thread::park();
            continue;
        }
        let before = burst.count.load(Ordering::Relaxed);
        let helped = match way {
            Way::Colocate => colocate::until_silence(burst, reader),
            Way::Spin => spin::until_silence(burst, device, begun),
        };
        let served = burst.count.load(Ordering::Relaxed).wrapping_sub(before);
        burst.learn(helped, served);
        burst.begun.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;

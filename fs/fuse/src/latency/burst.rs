//! Requests that come one right after the other, without a sleep in between.
//!
//! Most requests come from a program that waits for each answer before it asks again. A reader that sleeps
//! in between has to be woken for every one of them, and so has the program for every answer. Where the
//! processor of either was halted meanwhile, that costs more than the request. So while requests come thick
//! and fast, a thread (the watcher) sees to it that no processor halts: in one of two [ways](Way).
//!
//! - It begins after a number of requests that followed each other quickly, and ends when there was
//!   [`SILENCE`].
//! - Where it soon ended again, it takes more requests to begin the next time: a processor is not to be
//!   kept from others for nothing.
//! - It keeps no processor from others that want it.
//! - Where there is but one processor, it would keep away the client that it waits for: there is none of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::process::Pid;
use rustix::thread::{gettid, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::colocate::Binding;
use super::{colocate, spin};
use plyfs_fs::file::LITTLE;

/// A burst has ended when there was no request for this long. It is how long Linux itself looks for work
/// before it halts a processor, as a guest that was configured so (`guest_halt_poll_ns`).
pub(super) const SILENCE: Duration = Duration::from_micros(200);
pub(super) const SILENCE_NANOS: u64 = SILENCE.as_nanos() as u64;
/// What takes longer to serve than this may end a burst: it waits for a disk.
const LONG_NANOS: u64 = 1_000_000;
/// A thread that had to wait this long for a processor was kept from it by others. A halted processor is awake
/// sooner.
const KEPT_NANOS: u64 = 500_000;
/// How many requests must have followed each other, at least and at most; and where nothing could be done.
const FEW: u32 = 16;
const MANY: u32 = 1024;
const HOPELESS: u32 = 64 * MANY;
/// More are not counted: a few interruptions make even of the longest burst none.
const ENOUGH: u32 = 16 * FEW;
/// How many must come then, so that what is saved for them is more than what is wasted at the end.
const WORTH: u32 = 64;

/// What is done while there is a burst.
#[derive(Debug)]
enum Way {
    /// Two processors: the reader stays on that of the client, and the other is not left idle.
    Together,
    /// More of them: the reader looks for requests without sleeping.
    Polling(OwnedFd),
}

impl Way {
    /// What is best here. `None` where there is nothing to gain.
    fn here(device: OwnedFd) -> Option<Self> {
        // As much time as one processor has may be all there is (cgroups(7)), on more of them.
        let time = std::thread::available_parallelism().ok()?.get();
        match sched_getaffinity(None).ok()?.count() {
            _ if time == 1 => None,
            2 => Some(Self::Together),
            _ => Some(Self::Polling(device)),
        }
    }
}

/// How a burst came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There were no more requests.
    Silence,
    /// Others want the processors that it takes.
    Busy,
    /// Nothing could be done for it.
    Unable,
}

/// Whether a thread that should run at `due` and runs at `now` was kept from it by others.
pub(super) fn is_kept_waiting(due: u64, now: u64) -> bool {
    now.saturating_sub(due) > KEPT_NANOS
}

/// Notices bursts, and has a thread see to them that is started the first time. Dropping it ends the thread.
#[derive(Debug)]
pub struct Bursts {
    shared: Arc<Shared>,
    watcher: Mutex<Watcher>,
}

#[derive(Debug)]
enum Watcher {
    /// And what it is to do, chosen when there is the first burst: a mount is not to wait for that.
    NotYet(OwnedFd, fn(OwnedFd) -> Option<Way>),
    Is,
    /// Without it, requests are slept between.
    IsNone,
}

#[derive(Debug)]
struct Shared {
    burst: Burst,
    /// Whether the way is [`Way::Together`].
    together: AtomicBool,
    /// How many requests have followed each other up to now.
    streak: AtomicU32,
    /// How many of those it takes to begin.
    needed: AtomicU32,
    /// Whether there is a burst that the watcher sees to. Changed while holding the lock.
    seen_to: AtomicBool,
    /// When it began, in nanoseconds.
    begun: AtomicU64,
    closed: Mutex<bool>,
    /// Either of them was set.
    changed: Condvar,
}

/// What the watcher can see of requests.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// When the last request came, in nanoseconds of a clock that only runs forward; if it took long, when it was
    /// answered, and until then a time to come.
    last: AtomicU64,
    /// How many requests have come, in a number that wraps.
    count: AtomicU32,
    /// The threads that the last came from, and that reads them. 0 is none.
    client: AtomicI32,
    reader: AtomicI32,
    pub(super) binding: Binding,
}

impl Bursts {
    /// For the one thread that reads requests from this connection.
    pub fn of_sole_reader(device: OwnedFd) -> Self {
        Self::new(device, Way::here)
    }

    fn new(device: OwnedFd, choose: fn(OwnedFd) -> Option<Way>) -> Self {
        let shared = Arc::new(Shared {
            burst: Burst::default(),
            together: AtomicBool::new(false),
            streak: AtomicU32::new(0),
            needed: AtomicU32::new(FEW),
            seen_to: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            closed: Mutex::new(false),
            changed: Condvar::new(),
        });
        Self {
            shared,
            watcher: Mutex::new(Watcher::NotYet(device, choose)),
        }
    }

    /// Whether there is a thread to see to a burst.
    fn is_watched(&self) -> bool {
        let mut watcher = self.watcher.lock();
        *watcher = match std::mem::replace(&mut *watcher, Watcher::IsNone) {
            Watcher::NotYet(device, choose) => self.start_watcher(choose(device)),
            started => started,
        };
        matches!(*watcher, Watcher::Is)
    }

    fn start_watcher(&self, way: Option<Way>) -> Watcher {
        let Some(way) = way else {
            return Watcher::IsNone;
        };
        let shared = self.shared.clone();
        shared.burst.read_by(gettid());
        shared
            .together
            .store(matches!(way, Way::Together), Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("plyfs-bursts".to_owned());
        match thread.spawn(move || shared.watch(&way)) {
            Ok(_) => Watcher::Is,
            Err(error) => {
                log::warn!("each request is slept for: cannot start a thread: {error}");
                Watcher::IsNone
            }
        }
    }

    /// A request came, from this thread of a client (0 where the kernel has no number for it), that moves so many
    /// bytes. Only ever called by the reader.
    pub fn request(&self, client: u32, bytes: usize) {
        let shared = &*self.shared;
        if bytes > LITTLE && shared.together.load(Ordering::Relaxed) {
            // Moving data is best done beside the client, which reads or writes on meanwhile.
            return;
        }
        let now = nanoseconds();
        let gap = now.saturating_sub(shared.burst.came(now, client));
        let streak = shared.streak.load(Ordering::Relaxed);
        if gap > SILENCE_NANOS {
            if shared.burst.binding.is_bound() {
                shared.burst.binding.undo(gettid());
            }
            // A client may be interrupted once in a while.
            return shared.streak.store(streak / 2, Ordering::Relaxed);
        }
        let needed = shared.needed.load(Ordering::Relaxed);
        let most = needed.max(ENOUGH);
        shared
            .streak
            .store((streak + 1).min(most), Ordering::Relaxed);
        if streak >= needed && !shared.seen_to.load(Ordering::Acquire) && self.is_watched() {
            shared.begin(now);
        }
    }

    /// The last request takes long to serve, until what is returned is dropped: it is from then on that the client
    /// may ask again, and a burst goes on meanwhile.
    #[must_use]
    pub(crate) fn serve_long(&self) -> Long<'_> {
        let burst = &self.shared.burst;
        burst
            .last
            .store(nanoseconds() + LONG_NANOS, Ordering::Relaxed);
        Long(burst)
    }
}

/// A request that takes long is being served.
pub(crate) struct Long<'b>(&'b Burst);

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.0.last.store(nanoseconds(), Ordering::Relaxed);
    }
}

impl Drop for Bursts {
    /// No thread waits for it: it may have to wait for a processor.
    fn drop(&mut self) {
        *self.shared.closed.lock() = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn begin(&self, now: u64) {
        // Where the watcher is about to sleep, the next request begins it.
        let Some(_locked) = self.closed.try_lock() else {
            return;
        };
        self.begun.store(now, Ordering::Relaxed);
        self.seen_to.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    fn watch(&self, way: &Way) {
        if matches!(way, Way::Together)
            && let Err(errno) = give_way()
        {
            return log::debug!("each request is slept for: {errno}");
        }
        let mut closed = self.closed.lock();
        while !*closed {
            if !self.seen_to.load(Ordering::Acquire) {
                self.changed.wait(&mut closed);
                continue;
            }
            drop(closed);
            let before = self.burst.count();
            let end = match way {
                Way::Together => colocate::until_silence(&self.burst),
                Way::Polling(_) if self.is_late() => End::Busy,
                Way::Polling(device) => spin::until_silence(&self.burst, device),
            };
            let served = self.burst.count().wrapping_sub(before);
            self.learn(end, served);
            if end != End::Silence {
                self.streak.store(0, Ordering::Relaxed);
            }
            closed = self.closed.lock();
            self.seen_to.store(false, Ordering::Release);
        }
    }

    /// Whether the watcher had to wait for a processor when the burst began.
    fn is_late(&self) -> bool {
        is_kept_waiting(self.begun.load(Ordering::Relaxed), nanoseconds())
    }

    /// Takes into account how a burst ended, in which so many requests came.
    fn learn(&self, end: End, served: u32) {
        let needed = self.needed.load(Ordering::Relaxed);
        let next = match end {
            End::Silence if served >= WORTH => FEW,
            End::Silence => (needed * 2).min(MANY),
            End::Busy => (needed * 4).min(MANY),
            End::Unable => (needed * 4).min(HOPELESS),
        };
        self.needed.store(next, Ordering::Relaxed);
    }
}

/// Makes this thread, which is like the reader, one that keeps no other from running.
fn give_way() -> plyfs_sys::Result<()> {
    plyfs_sys::thread::give_way()?;
    plyfs_sys::thread::take_usual_turns()
}

impl Burst {
    fn read_by(&self, reader: Pid) {
        let reader = reader.as_raw_nonzero().get();
        self.reader.store(reader, Ordering::Relaxed);
    }

    /// When the request before it came.
    fn came(&self, now: u64, client: u32) -> u64 {
        self.client.store(client as i32, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.last.swap(now, Ordering::Relaxed)
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn has_ended(&self, now: u64) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        now.saturating_sub(last) > SILENCE_NANOS
    }

    /// The thread that the last request came from, where it has a number that should mean it here.
    pub(super) fn client(&self) -> Option<Pid> {
        thread(&self.client)
    }

    pub(super) fn reader(&self) -> Option<Pid> {
        thread(&self.reader)
    }
}

fn thread(number: &AtomicI32) -> Option<Pid> {
    match number.load(Ordering::Relaxed) {
        number if number > 0 => Pid::from_raw(number),
        _ => None,
    }
}

pub(super) fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::os::fd::AsFd;
    use std::time::Instant;

    use rustix::fs::{OFlags, fcntl_getfl};

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
        let bursts = Bursts::new(device.try_clone().unwrap(), |device| {
            Some(Way::Polling(device))
        });
        for _ in 0..3 {
            wait_for(|| {
                (0..MANY * 2).for_each(|_| bursts.request(0, 0));
                polls(&device)
            });
            wait_for(|| !polls(&device));
        }
    }

    #[test]
    fn requests_now_and_then_are_waited_for() {
        let device = device();
        let bursts = Bursts::new(device.try_clone().unwrap(), |device| {
            Some(Way::Polling(device))
        });
        for _ in 0..4 * FEW {
            bursts.request(0, 0);
            assert!(!polls(&device));
            std::thread::sleep(SILENCE);
        }
    }

    /// A listing took longer to make than requests may be apart, so that a walk was no burst.
    #[test]
    fn requests_that_take_long_may_follow_each_other() {
        let bursts = Bursts::new(device(), |_| None);
        // On a machine that is busy, something may come between.
        wait_for(|| {
            for _ in 0..8 {
                bursts.request(0, 0);
                let long = bursts.serve_long();
                std::thread::sleep(2 * SILENCE);
                drop(long);
            }
            bursts.shared.streak.load(Ordering::Relaxed) > 2
        });
    }

    #[test]
    fn a_burst_goes_on_while_a_request_takes_long() {
        let device = device();
        let bursts = Bursts::new(device.try_clone().unwrap(), |device| {
            Some(Way::Polling(device))
        });
        wait_for(|| {
            (0..MANY * 2).for_each(|_| bursts.request(0, 0));
            let begun = polls(&device);
            let long = bursts.serve_long();
            std::thread::sleep(3 * SILENCE);
            let goes_on = polls(&device);
            drop(long);
            begun && goes_on
        });
    }

    #[test]
    fn short_bursts_make_it_reluctant_and_long_ones_do_not() {
        let bursts = Bursts::new(device(), |_| Some(Way::Together));
        let needed = || bursts.shared.needed.load(Ordering::Relaxed);
        let learn = |end, served| bursts.shared.learn(end, served);
        learn(End::Silence, WORTH - 1);
        assert_eq!(needed(), 2 * FEW);
        (0..20).for_each(|_| learn(End::Silence, 3));
        assert_eq!(needed(), MANY);
        learn(End::Silence, WORTH);
        assert_eq!(needed(), FEW);
        // It served many, and others waited meanwhile.
        (0..20).for_each(|_| learn(End::Busy, 10 * WORTH));
        assert_eq!(needed(), MANY);
    }

    /// Each request began it again, in vain.
    #[test]
    fn a_client_that_cannot_be_seen_is_soon_not_looked_for() {
        let bursts = Bursts::new(device(), |_| Some(Way::Together));
        let shared = &bursts.shared;
        let needed = || shared.needed.load(Ordering::Relaxed);
        wait_for(|| {
            (0..2 * HOPELESS).for_each(|_| bursts.request(0, 0));
            needed() == HOPELESS
        });
        wait_for(|| !shared.seen_to.load(Ordering::Relaxed));
        shared.streak.store(0, Ordering::Relaxed);
        for _ in 0..HOPELESS / 2 {
            bursts.request(0, 0);
            assert!(!shared.seen_to.load(Ordering::Relaxed));
        }
        assert!(shared.streak.load(Ordering::Relaxed) <= HOPELESS / 2);
    }

    #[test]
    fn what_moves_much_data_is_no_burst() {
        let bursts = Bursts::new(device(), |_| Some(Way::Together));
        bursts.shared.together.store(true, Ordering::Relaxed);
        (0..MANY).for_each(|_| bursts.request(0, LITTLE + 1));
        assert_eq!(bursts.shared.streak.load(Ordering::Relaxed), 0);
    }

    /// The reader is where the client is while there is a burst, and goes where it likes afterwards.
    #[test]
    fn a_reader_is_bound_to_its_client_until_the_burst_ends() {
        let all = rustix::thread::sched_getaffinity(None).unwrap();
        if all.count() != 2 {
            eprintln!("skipped: there are {} processors, not two", all.count());
            return;
        }
        let bursts = Bursts::new(device(), |_| Some(Way::Together));
        let me = gettid().as_raw_nonzero().get() as u32;
        let bound = || rustix::thread::sched_getaffinity(None).unwrap() != all;
        for _ in 0..3 {
            wait_for(|| {
                (0..MANY * 2).for_each(|_| bursts.request(me, 0));
                bound()
            });
            // Threads that it starts are where they like at once, and it is itself when there was silence: the
            // other thread sees to that, or on a busy machine the next request, which that one may see first.
            let (tell, told) = std::sync::mpsc::channel();
            let pool = crate::pool::Pool::new("test", 1);
            pool.run(move || tell.send(rustix::thread::sched_getaffinity(None)).unwrap());
            assert_eq!(told.recv().unwrap(), Ok(all));
            std::thread::sleep(2 * SILENCE);
            bursts.request(me, 0);
            wait_for(|| !bound());
        }
    }
}

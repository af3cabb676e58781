//! Client and reader on one processor, where there are two.
//!
//! A client that waits for its answer sleeps, and so does the reader that waits for a request: one of them
//! runs at a time. On one processor, going from one to the other takes about two microseconds. But
//! the scheduler wakes whom it can on an idle processor, for it cannot know that the waker is about to
//! sleep; and a processor that has been idle is woken by an interrupt, which on a virtual machine costs
//! more than the request. So while there is a burst,
//!
//! - the other processor is not idle: this thread is there, and does nothing;
//! - the reader is bound to the client's processor, which is looked for again every [`LOOK`] (`processor`
//!   in proc_pid_stat(5)). Left to itself it may come to run beside this thread, and stay.
//!
//! What else wants the other processor gets it: this thread has the lowest priority, which leaves it 15 in 1,000, and
//! offers it every [`YIELD`] (sched_yield(2)), without which others would wait for the next tick of the scheduler, 4 ms
//! with 250 a second. Where both processors are busy it hardly runs, and the reader stays beside its client, so that no
//! request waits for the turn of another program on the other processor. Bound is only the reader, only to processors that it may use, and only until the
//! burst ends: the first that notices it, this thread, which may have to wait for a processor, or the reader,
//! [lets it go](Binding). Where a client may use other processors than the reader, or cannot be seen, nothing is
//! done.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, getpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, sched_yield};

use super::burst::{Burst, End, nanoseconds};

/// How often the client is looked for, in nanoseconds.
const LOOK: u64 = 1_000_000;
/// How often the processor is offered to others, in nanoseconds.
const YIELD: u64 = 20_000;
/// How often the clock is read: after so many pauses of the processor.
const PAUSES: u32 = 64;

/// Keeps client and reader together as long as requests come.
pub(super) fn until_silence(burst: &Burst) -> End {
    let Some(mut pair) = Pair::of(burst) else {
        return End::Unable;
    };
    let mut looked = nanoseconds();
    let mut yielded = looked;
    loop {
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        let now = nanoseconds();
        if burst.has_ended(now) {
            return End::Silence;
        }
        if now.saturating_sub(yielded) >= YIELD {
            yielded = now;
            sched_yield();
        }
        if now.saturating_sub(looked) >= LOOK {
            looked = now;
            if let Some(client) = burst.client()
                && pair.follow(client).is_none()
            {
                return End::Unable;
            }
        }
    }
}

/// How the reader is bound.
#[derive(Debug, Default)]
pub(super) struct Binding {
    /// What it may use again when it is let go; `None` while it is not bound.
    free: Mutex<Option<CpuSet>>,
    is_bound: AtomicBool,
}

impl Binding {
    pub(super) fn is_bound(&self) -> bool {
        self.is_bound.load(Ordering::Relaxed)
    }

    fn bind(&self, reader: Pid, to: &CpuSet, free: &CpuSet) -> Option<()> {
        let mut bound = self.free.lock();
        sched_setaffinity(Some(reader), to).ok()?;
        *bound = Some(*free);
        self.is_bound.store(true, Ordering::Relaxed);
        Some(())
    }

    /// Lets the reader go where it could go before.
    pub(super) fn undo(&self, reader: Pid) {
        let mut bound = self.free.lock();
        let Some(free) = *bound else { return };
        match sched_setaffinity(Some(reader), &free) {
            Ok(()) => {
                *bound = None;
                self.is_bound.store(false, Ordering::Relaxed);
            }
            // Tried again with the next request, or burst.
            Err(errno) => log::debug!("a thread stays bound to a processor: {errno}"),
        }
    }
}

/// The reader beside its client, and this thread on the other processor. Dropping it lets them go.
struct Pair<'b> {
    burst: &'b Burst,
    reader: Pid,
    /// The two processors.
    both: CpuSet,
    /// The processors that the threads get back: those two, or all if these were not chosen.
    free: CpuSet,
    at: Option<usize>,
}

impl<'b> Pair<'b> {
    /// `None` where there are not two processors, or the client may use others.
    fn of(burst: &'b Burst) -> Option<Self> {
        let (reader, client) = (burst.reader()?, burst.client()?);
        let both = sched_getaffinity(Some(reader)).ok()?;
        if both.count() != 2 {
            return None;
        }
        let mut pair = Self {
            burst,
            reader,
            both,
            free: unless_said_otherwise(reader, both)?,
            at: None,
        };
        pair.follow(client)?;
        Some(pair)
    }

    /// Puts the reader where the client is. A client that is gone is no reason to do anything.
    fn follow(&mut self, client: Pid) -> Option<()> {
        let (Ok(may), Some(at)) = (sched_getaffinity(Some(client)), processor_of(client)) else {
            return self.at.map(drop);
        };
        if self.at == Some(at) && self.burst.binding.is_bound() {
            return Some(());
        }
        let (mut here, mut other) = (CpuSet::new(), self.both);
        here.set(at);
        other.unset(at);
        let within = (0..CpuSet::MAX_CPU).all(|cpu| !may.is_set(cpu) || self.both.is_set(cpu));
        if !within || !self.both.is_set(at) {
            return None;
        }
        self.at = Some(at);
        // First away from there, so that the reader is not beside this thread.
        sched_setaffinity(None, &other).ok()?;
        self.burst.binding.bind(self.reader, &here, &self.free)
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        self.burst.binding.undo(self.reader);
        if let Err(errno) = sched_setaffinity(None, &self.free) {
            log::debug!("a thread stays bound to a processor: {errno}");
        }
    }
}

/// All processors, if a thread that may use these may use all there are; these, if they were chosen
/// (taskset(1)). What is given back is then right for processors that are added later, too.
fn unless_said_otherwise(thread: Pid, these: CpuSet) -> Option<CpuSet> {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    sched_setaffinity(Some(thread), &all).ok()?;
    match sched_getaffinity(Some(thread)) {
        Ok(now) if now == these => Some(all),
        _ => sched_setaffinity(Some(thread), &these).ok().map(|()| these),
    }
}

/// Lets a thread that the reader has started go where the process may: it is bound as the reader was.
pub(crate) fn leave_reader() {
    let free = sched_getaffinity(Some(getpid()));
    if let Err(errno) = free.and_then(|free| sched_setaffinity(None, &free)) {
        log::debug!("a thread stays bound to a processor: {errno}");
    }
}

/// The processor that a thread runs on, or last ran on.
///
/// Nothing is allocated for it: this thread may be kept from running at any time, and a thread that allocates next,
/// the reader, would wait for it.
fn processor_of(thread: Pid) -> Option<usize> {
    let mut buffer = [0; 1024];
    let mut path = &mut buffer[..64];
    write!(path, "/proc/{}/stat", thread.as_raw_nonzero()).ok()?;
    let left = path.len();
    let path = str::from_utf8(&buffer[..64 - left]).ok()?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    // The second field is the name of the program, in parentheses, which may contain anything.
    let stat = &buffer[..length];
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    fields.nth(39 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn the_processor_of_a_thread_is_one_it_may_use() {
        let at = processor_of(gettid());
        let may = sched_getaffinity(None).ok();
        assert!(at.zip(may).is_some_and(|(at, may)| may.is_set(at)));
    }
}

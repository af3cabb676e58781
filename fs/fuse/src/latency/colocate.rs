//! Reader and client on one processor, where there are two.
//!
//! The watcher binds the reader to the processor of its client and spins on the other one, so that the scheduler
//! does not find that idle and wake the client or the reader there. Any program that wants it gets it.

use std::io::Write;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, getpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, sched_yield};

use super::binding::note;
use super::burst::Burst;
use super::clock::nanoseconds;

/// How often the watcher looks where the client runs, in nanoseconds.
const LOOK: u64 = 1_000_000;
/// How often it offers its processor to others, in nanoseconds: they would wait for the next tick, up to 4 ms.
const YIELD: u64 = 20_000;
/// How many pauses of the processor there are between two looks at the clock.
const PAUSES: u32 = 64;
/// How long others must have had its processor to be relied on for keeping it from halting, in nanoseconds, and how
/// long they are.
const TAKEN: u64 = 500_000;
const RELY: Duration = Duration::from_millis(2);

/// Makes this thread one that keeps no other from running. It takes short turns: the scheduler lets a thread of the
/// lowest priority wait in proportion to the length of its turn, and a daemon that ends waits for all of its threads.
pub(super) fn give_way() -> plyfs_sys::Result<()> {
    plyfs_sys::thread::give_way()?;
    plyfs_sys::thread::take_short_turns()
}

/// Keeps reader and client together until requests cease. `false` where that cannot be.
pub(super) fn until_silence(burst: &Burst, reader: Pid) -> bool {
    let Ok(both) = sched_getaffinity(Some(reader)) else {
        return false;
    };
    let Some(free) = all_unless_chosen(reader, both) else {
        return false;
    };
    let pair = Pair {
        burst,
        reader,
        both,
        free,
    };
    let helped = both.count() == 2 && pair.keep().is_some();
    burst.binding.undo(reader);
    note(sched_setaffinity(None, &free));
    helped
}

/// The reader, and the two processors that it may use.
struct Pair<'b> {
    burst: &'b Burst,
    reader: Pid,
    both: CpuSet,
    free: CpuSet,
}

impl Pair<'_> {
    /// `None` as soon as the reader cannot be where the client is.
    fn keep(&self) -> Option<()> {
        let mut at = self.follow(self.burst.client()?, None)?;
        let mut looked = nanoseconds();
        let mut yielded = looked;
        loop {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            let now = nanoseconds();
            if self.burst.has_ended(now) {
                return Some(());
            }
            if now.saturating_sub(looked) >= LOOK {
                looked = now;
                // The kernel itself may have asked last.
                if let Some(client) = self.burst.client() {
                    at = self.follow(client, Some(at))?;
                }
            }
            if now.saturating_sub(yielded) >= YIELD {
                sched_yield();
                yielded = nanoseconds();
                if yielded.saturating_sub(now) >= TAKEN {
                    std::thread::sleep(RELY);
                }
            }
        }
    }

    /// Binds the reader to the processor of the client, and returns which that is. If the client has ended, the
    /// reader stays where it is.
    fn follow(&self, client: Pid, before: Option<usize>) -> Option<usize> {
        let (Ok(may), Some(at)) = (sched_getaffinity(Some(client)), processor_of(client)) else {
            return before;
        };
        let mut bound = self.burst.binding.0.lock();
        if before == Some(at) && bound.is_some() {
            return before;
        }
        let within = (0..CpuSet::MAX_CPU).all(|cpu| !may.is_set(cpu) || self.both.is_set(cpu));
        if !within || !self.both.is_set(at) {
            return None;
        }
        let (mut here, mut other) = (CpuSet::new(), self.both);
        here.set(at);
        other.unset(at);
        // This thread leaves first, so that the reader does not come to wait for it.
        sched_setaffinity(None, &other).ok()?;
        sched_setaffinity(Some(self.reader), &here).ok()?;
        *bound = Some(self.free);
        Some(at)
    }
}

/// All processors if this thread may use all there are, so that it may use those that are added later; these if
/// they were chosen for it (taskset(1)).
fn all_unless_chosen(thread: Pid, these: CpuSet) -> Option<CpuSet> {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    sched_setaffinity(Some(thread), &all).ok()?;
    match sched_getaffinity(Some(thread)) {
        Ok(now) if now == these => Some(all),
        _ => sched_setaffinity(Some(thread), &these).ok().map(|()| these),
    }
}

/// Frees a thread that the reader has started, which is bound as the reader was.
pub(crate) fn leave_reader() {
    note(sched_getaffinity(Some(getpid())).and_then(|free| sched_setaffinity(None, &free)));
}

/// The processor that a thread runs on, or last ran on (`processor` in proc_pid_stat(5)).
///
/// It allocates nothing: while the watcher waits for a processor inside of the allocator, so would the reader.
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

//! Client and reader on one processor, where there are two.
//!
//! A client that waits for its answer sleeps, and so does the reader that waits for a request: one of them
//! runs at a time. On one processor, going from one to the other takes about two microseconds. But
//! the scheduler wakes whom it can on an idle processor, for it cannot know that the waker is about to
//! sleep; and a processor that has been idle is woken by an interrupt, which on a virtual machine costs
//! more than the request. So while there is a burst,
//!
//! - the other processor is not idle: this thread is there, and does nothing;
//! - the reader is bound to the client's processor, which is looked for anew every [`LOOK`] (`processor`
//!   in proc_pid_stat(5)). Left to itself it may come to run beside this thread, and stay.
//!
//! What else wants the other processor has it at once: this thread has the lowest priority, which leaves it 15
//! in 1,000. Bound is only the reader, only to processors that it may use, and only until the burst ends.
//! Where a client may use other processors than the reader, or cannot be seen, nothing is done.

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use super::bursts::{Burst, nanoseconds};

/// How often the client is looked for, in nanoseconds.
const LOOK: u64 = 1_000_000;
/// How often the clock is read: after so many pauses of the processor.
const PAUSES: u32 = 64;
const LOWEST_PRIORITY: i32 = 19;

/// Makes this thread one that stands in nobody's way. It cannot be taken back (setpriority(2)).
pub(super) fn prepare() {
    if let Err(errno) = setpriority_process(Some(gettid()), LOWEST_PRIORITY) {
        log::debug!("cannot lower the priority of a thread: {errno}");
    }
}

/// Keeps client and reader together as long as requests come.
pub(super) fn until_silence(burst: &Burst) {
    let Some(mut pair) = Pair::of(burst) else {
        // Looked for again with the next burst, which takes longer to begin.
        return;
    };
    let mut looked = nanoseconds();
    loop {
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        let now = nanoseconds();
        if burst.has_ended(now) {
            return;
        }
        if now.saturating_sub(looked) >= LOOK {
            looked = now;
            if let Some(client) = burst.client()
                && pair.follow(client).is_none()
            {
                return;
            }
        }
    }
}

/// The reader beside its client, and this thread on the other processor. Dropping it lets them go.
struct Pair {
    reader: Pid,
    /// The two processors.
    both: CpuSet,
    at: Option<usize>,
}

impl Pair {
    /// `None` where there are not two processors, or the client may use others.
    fn of(burst: &Burst) -> Option<Self> {
        let reader = burst.reader()?;
        let both = sched_getaffinity(Some(reader)).ok()?;
        let mut pair = Self {
            reader,
            both,
            at: None,
        };
        if both.count() != 2 {
            return None;
        }
        pair.follow(burst.client()?)?;
        Some(pair)
    }

    /// Puts the reader where the client is. A client that is gone is no reason to do anything.
    fn follow(&mut self, client: Pid) -> Option<()> {
        let (Ok(may), Some(at)) = (sched_getaffinity(Some(client)), processor_of(client)) else {
            return self.at.map(drop);
        };
        if self.at == Some(at) {
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
        sched_setaffinity(Some(self.reader), &here).ok()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.at.is_none() {
            return;
        }
        for thread in [Some(self.reader), None] {
            if let Err(errno) = sched_setaffinity(thread, &self.both) {
                log::debug!("a thread stays bound to a processor: {errno}");
            }
        }
    }
}

/// The processor that a thread runs on, or last ran on.
fn processor_of(thread: Pid) -> Option<usize> {
    let path = format!("/proc/{}/stat", thread.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).ok()?;
    // The second field is the name of the program, in parentheses, which may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(39 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_of_a_thread_is_one_it_may_use() {
        let at = processor_of(gettid());
        let may = sched_getaffinity(None).ok();
        assert!(at.zip(may).is_some_and(|(at, may)| may.is_set(at)));
    }
}

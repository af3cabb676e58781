//! Space that unlinked files still take.
//!
//! A file that is removed while its node is known keeps its space in the upper layer until the node is
//! forgotten. The kernel forgets it as soon as no program uses the file, but says so after unlink(2) has
//! returned, and perhaps after the next change has come. Programs count on the space at once. So a
//! change that finds no space waits until what was removed before is forgotten, and is tried again.
//!
//! A file may be in use for long, too. That it is cannot be told: those that were removed before the
//! change are waited for as long as one of them is forgotten every [`WAIT_FOR_NEXT`], but never longer than
//! [`LONGEST_WAIT`], and not again before something else is removed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::{Errno, Result};

/// How long a change waits for the next removed file to be forgotten. On a machine that has nothing
/// else to do it takes some microseconds.
const WAIT_FOR_NEXT: Duration = Duration::from_millis(300);
/// How long a change waits in all.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The unlinked files that still take space.
#[derive(Debug, Default)]
pub(crate) struct UnlinkedFiles {
    /// How many there ever were.
    ever: AtomicU64,
    /// What `ever` was when those that were left had been waited for in vain.
    given_up: AtomicU64,
    /// How many are gone.
    gone: Mutex<u64>,
    one_gone: Condvar,
}

impl UnlinkedFiles {
    /// Keeps a file that has no name any more.
    pub(crate) fn keep(self: &Arc<Self>, fd: Arc<OwnedFd>) -> Arc<UnlinkedFd> {
        self.ever.fetch_add(1, Ordering::Relaxed);
        let until_closed = Counted(self.clone());
        Arc::new(UnlinkedFd {
            fd,
            _until_closed: until_closed,
        })
    }

    /// Whether there may be space soon for a change that failed with this error.
    pub(crate) fn may_help(&self, error: Errno) -> bool {
        matches!(error, Errno::NOSPC | Errno::DQUOT) && self.may_go()
    }

    /// Whether space may come that was not waited for yet.
    fn may_go(&self) -> bool {
        self.ever.load(Ordering::Relaxed) != self.given_up.load(Ordering::Relaxed)
    }

    /// Waits until more than so many are gone. `false` if there are not by then.
    fn wait(&self, gone_before: u64, until: Instant) -> bool {
        let mut gone = self.gone.lock();
        while *gone <= gone_before {
            if self.one_gone.wait_until(&mut gone, until).timed_out() {
                return *gone > gone_before;
            }
        }
        true
    }

    /// Makes a change, and makes it again while it finds no space and files that were removed before it
    /// are forgotten.
    pub(crate) fn retry_when_space<T>(&self, change: impl Fn() -> Result<T>) -> Result<T> {
        let (ever, end) = (
            self.ever.load(Ordering::Relaxed),
            Instant::now() + LONGEST_WAIT,
        );
        loop {
            let gone_before = *self.gone.lock();
            let result = change();
            match &result {
                Err(error) if self.may_help(*error) => {}
                _ => return result,
            }
            let until = end.min(Instant::now() + WAIT_FOR_NEXT);
            if gone_before >= ever || !self.wait(gone_before, until) {
                self.given_up.store(ever, Ordering::Relaxed);
                return result;
            }
        }
    }
}

/// A file without a name, which takes space until nothing keeps it.
#[derive(Debug)]
pub(crate) struct UnlinkedFd {
    pub(crate) fd: Arc<OwnedFd>,
    /// After the descriptor, so that the space is free when it is counted.
    _until_closed: Counted,
}

#[derive(Debug)]
struct Counted(Arc<UnlinkedFiles>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.gone.lock() += 1;
        self.0.one_gone.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn some_file() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn a_change_is_made_again_when_a_removed_file_is_gone() {
        let removed = Arc::new(UnlinkedFiles::default());
        let kept = removed.keep(some_file());
        let kept = Mutex::new(Some(kept));
        let tries = Cell::new(0);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                kept.lock().take();
            });
            removed.retry_when_space(|| {
                tries.set(tries.get() + 1);
                let full = tries.get() == 1;
                if full { Err(Errno::NOSPC) } else { Ok(()) }
            })
        });
        assert_eq!((result, tries.get()), (Ok(()), 2));
        // Nothing is waited for any more.
        let result: Result<()> = removed.retry_when_space(|| Err(Errno::NOSPC));
        assert_eq!(result, Err(Errno::NOSPC));
        assert!(!removed.may_go());
    }

    #[test]
    fn a_removed_file_in_use_is_waited_for_once() {
        let removed = Arc::new(UnlinkedFiles::default());
        let _kept = removed.keep(some_file());
        let start = Instant::now();
        for _ in 0..50 {
            let result: Result<()> = removed.retry_when_space(|| Err(Errno::DQUOT));
            assert_eq!(result, Err(Errno::DQUOT));
        }
        let took = start.elapsed();
        assert!(
            took >= WAIT_FOR_NEXT && took < WAIT_FOR_NEXT * 10,
            "{took:?}"
        );
        // What was removed after that may go.
        let another = removed.keep(some_file());
        assert!(removed.may_go());
        drop(another);
        assert!(removed.wait(0, Instant::now()));
    }

    /// A program makes and removes files all the time, which makes no space for what is too large.
    #[test]
    fn what_is_removed_meanwhile_is_not_waited_for() {
        let removed = Arc::new(UnlinkedFiles::default());
        drop(removed.keep(some_file()));
        let tries = Cell::new(0);
        let result: Result<()> = removed.retry_when_space(|| {
            tries.set(tries.get() + 1);
            assert!(tries.get() < 100);
            drop(removed.keep(some_file()));
            Err(Errno::NOSPC)
        });
        assert_eq!((result, tries.get()), (Err(Errno::NOSPC), 1));
    }

    #[test]
    fn other_errors_are_told_at_once() {
        let removed = Arc::new(UnlinkedFiles::default());
        let _kept = removed.keep(some_file());
        let result: Result<()> = removed.retry_when_space(|| Err(Errno::IO));
        assert_eq!(result, Err(Errno::IO));
        assert!(removed.may_go(), "it was not waited for");
    }
}

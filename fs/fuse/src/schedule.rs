//! When a change is made: now by the thread that reads requests, later by another thread, or again when there is
//! space.
//!
//! The thread that reads requests answers what takes a few system calls. It must not wait for what takes another
//! request: for the kernel to write back what it has gathered, or to forget a removed file. Two pools do that:
//!
//! - `disks` waits for disks, and for the kernel to write back. Such a write may need `copies`.
//! - `copies` moves data, and waits for space. It never waits for `disks`.

use std::io;
use std::sync::Arc;

use plyfs_fs::{Overlay, Result, interrupt};

use super::notify::SharedNotifier;
use super::pool::{Pool, Queue};

/// How many threads a pool has at most.
const POOL_THREADS: usize = 4;

#[derive(Debug)]
pub(crate) struct Schedule {
    overlay: Arc<Overlay>,
    notifier: SharedNotifier,
    pools: Arc<Pools>,
}

/// A job of the first may give one to the second, so the first ends first.
#[derive(Debug)]
pub(crate) struct Pools {
    disks: Pool,
    copies: Pool,
}

impl Pools {
    /// Starts a thread of each. After all forks.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.disks.start()?;
        self.copies.start()
    }

    /// Waits for what was given to other threads. Nothing is given to them from then on.
    pub(crate) fn end(&self) {
        self.disks.end();
        self.copies.end();
    }
}

impl Schedule {
    pub(crate) fn new(overlay: Arc<Overlay>, notifier: SharedNotifier) -> Self {
        let pools = Pools {
            disks: Pool::new("sync", POOL_THREADS),
            copies: Pool::new("copy", POOL_THREADS),
        };
        Self {
            overlay,
            notifier,
            pools: Arc::new(pools),
        }
    }

    pub(crate) fn pools(&self) -> Arc<Pools> {
        self.pools.clone()
    }

    /// Makes a change now, if it is not slow. `None` if it is to be made [later](Self::later): it is slow, or there
    /// may be space for it soon, once this thread has read what the kernel forgets.
    pub(crate) fn now<T>(
        &self,
        slow: bool,
        change: impl FnOnce() -> Result<T>,
    ) -> Option<Result<T>> {
        let result = (!slow).then(change)?;
        let error = result.as_ref().err();
        let again = error.is_some_and(|error| self.overlay.may_get_space(*error));
        (!again).then_some(result)
    }

    /// Makes a change in another thread, and again when there is space. Gives it up if the thread of the caller
    /// is killed before it is made.
    pub(crate) fn later<T>(
        &self,
        caller: u32,
        change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = job(self.overlay.clone(), caller, change, answer);
        self.pools.copies.run(job);
    }

    /// Makes a change now or later.
    pub(crate) fn change<T>(
        &self,
        caller: u32,
        slow: bool,
        change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        match self.now(slow, || change(&self.overlay)) {
            Some(result) => answer(result),
            None => self.later(caller, change, answer),
        }
    }

    /// Has the kernel send what it has gathered of a file, and then makes a change as [`later`](Self::later) does.
    pub(crate) fn after_flush<T>(
        &self,
        id: u64,
        caller: u32,
        change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = job(self.overlay.clone(), caller, change, answer);
        let (notifier, copies) = (self.notifier.clone(), self.pools.copies.queue());
        self.pools.disks.run(move || {
            notifier.flush(id);
            copies.run(job);
        });
    }

    /// Does what waits for a disk in another thread.
    pub(crate) fn at_disk(&self, act: impl FnOnce(&Overlay) + Send + 'static) {
        let overlay = self.overlay.clone();
        self.pools.disks.run(move || act(&overlay));
    }

    /// For what a job finds that another thread has to do.
    pub(crate) fn disks(&self) -> Queue {
        self.pools.disks.queue()
    }
}

fn job<T>(
    overlay: Arc<Overlay>,
    caller: u32,
    change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
    answer: impl FnOnce(Result<T>) + Send + 'static,
) -> impl FnOnce() + Send + 'static {
    move || {
        answer(interrupt::serving(caller, || {
            overlay.retry_when_space(change)
        }))
    }
}

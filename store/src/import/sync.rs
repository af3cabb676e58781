//! Syncing the file system: early, and once for several layers.
//!
//! syncfs(2) writes out everything that is dirty, whichever process made it so. Layers that become ready while
//! one call is under way all wait for the one next call. And since the kernel by itself would leave
//! most of a layer in memory until that call, the disk is set to work before: whenever enough has
//! been written, a thread that does nothing else syncs, while the others go on.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

/// How much is written before the disk is set to work, in bytes: some tenths of a second for a disk.
const ENOUGH: u64 = 64 << 20;

/// A file system that is synced by and for several threads.
pub(super) struct SyncGroup<'a> {
    dir: BorrowedFd<'a>,
    /// What has been written since the last call began, in bytes.
    dirty: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many calls have begun, and how many have ended.
    begun: u64,
    ended: u64,
    /// The first error: the kernel reports it once only, and then forgets.
    failed: Option<Errno>,
    /// Whether nothing more will be written.
    finished: bool,
}

impl<'a> SyncGroup<'a> {
    /// For the file system of a directory. Errors of writing since the directory was opened are
    /// reported (syncfs(2), since Linux 5.8).
    pub(super) fn new(dir: BorrowedFd<'a>) -> Self {
        Self {
            dir,
            dirty: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Notes that so many bytes have been written.
    pub(super) fn wrote(&self, bytes: u64) {
        let before = self.dirty.fetch_add(bytes, Ordering::Relaxed);
        if before < ENOUGH && before + bytes >= ENOUGH {
            // With the lock: a flusher that is about to wait must not miss it.
            let _state = self.state.lock();
            self.changed.notify_all();
        }
    }

    /// Returns when everything written before the call is on disk.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let wanted = state.begun + 1;
        while state.ended < wanted && state.failed.is_none() {
            if state.begun > state.ended {
                self.changed.wait(&mut state);
                continue;
            }
            state.begun += 1;
            self.dirty.store(0, Ordering::Relaxed);
            drop(state);
            let synced = rustix::fs::syncfs(self.dir);
            state = self.state.lock();
            state.ended += 1;
            state.failed = state.failed.or(synced.err());
            self.changed.notify_all();
        }
        state.failed.map_or(Ok(()), Err)
    }

    /// Does the work, with the disk at work beside it.
    pub(super) fn while_flushing(&self, work: impl FnOnce()) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.flush());
            // However the work ends, the other thread must not wait for ever.
            let _finish = Finish(self);
            work();
        });
    }

    fn flush(&self) {
        loop {
            let mut state = self.state.lock();
            while self.dirty.load(Ordering::Relaxed) < ENOUGH && !state.finished {
                self.changed.wait(&mut state);
            }
            let stop = state.finished || state.failed.is_some();
            drop(state);
            // An error stays in the state, for the layer that waits for its own sync.
            if stop || self.sync().is_err() {
                return;
            }
        }
    }
}

/// Lets the flushing thread go when dropped.
struct Finish<'a>(&'a SyncGroup<'a>);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.state.lock().finished = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn calls_are_shared_but_none_is_skipped() {
        let dir = File::open(std::env::temp_dir()).unwrap();
        let group = SyncGroup::new(dir.as_fd());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| group.sync().unwrap());
            }
        });
        let before = group.state.lock().ended;
        assert!((1..=8).contains(&before));
        group.sync().unwrap();
        assert_eq!(group.state.lock().ended, before + 1);
    }

    #[test]
    fn the_disk_is_set_to_work_early() {
        let dir = File::open(std::env::temp_dir()).unwrap();
        let group = SyncGroup::new(dir.as_fd());
        group.while_flushing(|| {
            group.wrote(ENOUGH - 1);
            assert_eq!(group.state.lock().begun, 0);
            group.wrote(1);
            while group.state.lock().ended == 0 {
                std::thread::yield_now();
            }
        });
        assert_eq!(group.state.lock().ended, 1);
    }
}

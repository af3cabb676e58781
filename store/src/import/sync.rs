//! Syncing the file system once for several layers.
//!
//! syncfs(2) writes out everything that is dirty, whoever made it so. Layers that become ready while
//! one call is under way all wait for the one next call.

use std::os::fd::BorrowedFd;

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

/// A file system that is synced by and for several threads.
pub(super) struct SyncGroup<'a> {
    dir: BorrowedFd<'a>,
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
}

impl<'a> SyncGroup<'a> {
    /// For the file system of a directory. Errors of writing since the directory was opened are
    /// reported (syncfs(2), since Linux 5.8).
    pub(super) fn new(dir: BorrowedFd<'a>) -> Self {
        Self {
            dir,
            state: Mutex::default(),
            changed: Condvar::new(),
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
            drop(state);
            let synced = rustix::fs::syncfs(self.dir);
            state = self.state.lock();
            state.ended += 1;
            state.failed = state.failed.or(synced.err());
            self.changed.notify_all();
        }
        state.failed.map_or(Ok(()), Err)
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
}

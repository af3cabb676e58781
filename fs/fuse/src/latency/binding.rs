//! The processors that the reader may use.

use parking_lot::Mutex;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// What the reader may use when it is no longer bound. `None` while it is not.
#[derive(Debug, Default)]
pub(super) struct Binding(pub(super) Mutex<Option<CpuSet>>);

impl Binding {
    /// Lets the reader go where it could go before. Does not wait for a watcher that is about to bind it: the
    /// next request that comes after a pause tries again.
    pub(super) fn undo(&self, reader: Pid) {
        if let Some(mut bound) = self.0.try_lock()
            && let Some(free) = *bound
            && note(sched_setaffinity(Some(reader), &free))
        {
            *bound = None;
        }
    }

    /// As a watcher does that is about to bind the reader.
    #[cfg(test)]
    pub(super) fn hold(&self) -> parking_lot::MutexGuard<'_, Option<CpuSet>> {
        self.0.lock()
    }
}

/// Returns whether a thread was freed.
pub(super) fn note(freed: rustix::io::Result<()>) -> bool {
    if let Err(errno) = freed {
        log::debug!("a thread stays bound to a processor: sched_setaffinity(2): {errno}");
    }
    freed.is_ok()
}

//! Notifications to the kernel.

use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

/// The way to tell the kernel something unasked, once there is a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedNotifier(Arc<OnceLock<Notifier>>);

impl SharedNotifier {
    pub(crate) fn set(&self, notifier: Notifier) {
        if self.0.set(notifier).is_err() {
            log::debug!("a session has one notifier");
        }
    }

    /// Makes the kernel ask for attributes again.
    pub(crate) fn forget_attributes(&self, id: u64) {
        self.invalidate(id, -1, 0);
    }

    /// Makes the kernel drop what it has of a part of a file: it gathered a write that failed, and would
    /// show readers what is stored nowhere. Not to be called by a thread that reads requests or copies, since the
    /// kernel may write pages back first.
    pub(crate) fn forget_data(&self, id: u64, offset: u64, length: usize) {
        // The protocol's numbers are signed.
        if let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) {
            self.invalidate(id, offset, length);
        }
    }

    /// Makes the kernel send what it has gathered to be written to a file. Not to be called by a
    /// thread that reads requests: the data comes as some.
    pub(crate) fn flush(&self, id: u64) {
        self.invalidate(id, 0, 0);
    }

    fn invalidate(&self, id: u64, offset: i64, length: i64) {
        if let Some(notifier) = self.0.get()
            && let Err(error) = notifier.inval_inode(INodeNo(id), offset, length)
        {
            // The kernel does not know it any more.
            log::debug!("cannot invalidate {id}: {error}");
        }
    }
}

//! Waiting for the space of removed files.

use crate::Overlay;
use crate::error::{Errno, Result};

impl Overlay {
    /// Whether a change that failed with this error found no space (`NOSPC`, `DQUOT`), and may find some
    /// [a little later](Self::retry_when_space).
    pub fn may_get_space(&self, error: Errno) -> bool {
        self.unlinked.may_help(error)
    }

    /// Makes a change, and makes it again if there was no space for it while a removed file was not
    /// forgotten yet. It may wait for that: the thread that [forgets](Self::forget) must not call it.
    ///
    /// # Errors
    /// Those of the change.
    pub fn retry_when_space<T>(&self, change: impl Fn(&Self) -> Result<T>) -> Result<T> {
        self.unlinked.retry_when_space(|| change(self))
    }
}

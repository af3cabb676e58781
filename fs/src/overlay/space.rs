//! Waiting for the space of removed files.

use crate::Overlay;
use crate::error::{Errno, Result};

impl Overlay {
    /// Whether a change that failed with this error found no room (`NOSPC`, `DQUOT`), and may find some
    /// [a little later](Self::with_room).
    pub fn may_get_room(&self, error: Errno) -> bool {
        self.removed.may_help(error)
    }

    /// Makes a change, and makes it again if there was no room for it while a removed file was not
    /// forgotten yet. It may wait for that: the thread that [forgets](Self::forget) must not call it.
    ///
    /// # Errors
    /// Those of the change.
    pub fn with_room<T>(&self, change: impl Fn(&Self) -> Result<T>) -> Result<T> {
        self.removed.with_room(|| change(self))
    }
}

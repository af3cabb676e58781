//! Modes that the daemon has widened for a moment, and what callers see meanwhile.
//!
//! [`owner_mode`](super::owner_mode) widens the mode of an object for the length of one call. No caller changes
//! a mode meanwhile, nor an access ACL, which is the same ([`hold_modes`]), and none sees the added bits
//! ([`unlent`]).
//!
//! `MODES` is taken last: a thread that holds it, for reading or writing, waits for no other lock, and takes it
//! only once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustix::fs::Statx;

use crate::error::Result;

/// Held for writing while permissions are lent, and for reading while a caller changes a mode: what is restored
/// would undo that change, and the change would take back what was lent.
pub(super) static MODES: RwLock<()> = RwLock::new(());

/// What is lent now.
pub(super) static LENT: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// How much that is.
pub(super) static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How often lending began or ended.
pub(super) static CHANGES: AtomicU64 = AtomicU64::new(0);

/// An object and the mode that it has for callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    device: (u32, u32),
    ino: u64,
    pub(super) mode: u16,
}

impl Known {
    pub(crate) fn of(stat: &Statx) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            mode: stat.stx_mode,
        }
    }

    fn is_of(&self, stat: &Statx) -> bool {
        (self.device, self.ino) == ((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
    }
}

/// Keeps permissions from being lent for as long as this lives. To be held while a mode is changed, from when the
/// old one is read.
pub(crate) fn hold_modes() -> RwLockReadGuard<'static, ()> {
    MODES.read()
}

/// The attributes of an object as callers may see them: without what is lent.
///
/// # Errors
/// Those of `look`, which makes the call.
pub(super) fn unlent(look: impl Fn() -> Result<Statx>) -> Result<Statx> {
    loop {
        let before = CHANGES.load(Ordering::SeqCst);
        let mut stat = look()?;
        if COUNT.load(Ordering::SeqCst) > 0
            && let Some(known) = LENT.lock().iter().find(|known| known.is_of(&stat))
        {
            stat.stx_mode = known.mode;
        }
        // Otherwise it may have been lent when it was looked at, and no longer be known.
        if CHANGES.load(Ordering::SeqCst) == before {
            return Ok(stat);
        }
    }
}

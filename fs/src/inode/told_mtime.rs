//! The time of last change that the kernel was told, while it keeps the times of files itself.
//!
//! With the writeback cache the kernel answers write(2) by itself, keeps the file's times, and sends data and
//! times later, in an order of its own. The overlay remembers the time it told, so that the times on disk become
//! those that programs were shown. Without that cache no time is remembered
//! ([`Config::gathers`](crate::Config::gathers)).

use std::num::NonZeroU32;

use crate::types::Timestamp;

/// How long after a time was told data may come that was written then, in milliseconds.
const LATE: u32 = 5_000;

/// The time of last change that the kernel was given when a file was made or changed.
///
/// A kernel that gathers writes keeps this time itself: the file was changed when a program wrote, not
/// when the data arrives. It sends the time before the data or after it, or not at all if its clock
/// has not moved on from what it was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldMtime {
    secs: i64,
    /// One more than the nanoseconds: nodes are many, and this leaves a value for "none".
    nanos: NonZeroU32,
    /// When it was told, in milliseconds on a clock that wraps.
    when: u32,
}

impl ToldMtime {
    pub(crate) fn now(mtime: Timestamp) -> Option<Self> {
        Some(Self {
            secs: mtime.secs,
            nanos: NonZeroU32::new(mtime.nanos.wrapping_add(1))?,
            when: milliseconds(),
        })
    }

    pub(crate) fn mtime(&self) -> Timestamp {
        Timestamp {
            secs: self.secs,
            nanos: self.nanos.get() - 1,
        }
    }

    /// Whether it was told so long ago that data which comes now is another change's.
    pub(crate) fn is_old(&self) -> bool {
        milliseconds().wrapping_sub(self.when) > LATE
    }
}

/// Of a clock that only runs forward.
fn milliseconds() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec
        .wrapping_mul(1000)
        .wrapping_add(now.tv_nsec / 1_000_000)) as u32
}

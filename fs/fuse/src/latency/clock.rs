//! The clock of bursts.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A burst ends when no request came for this long. Linux, too, looks for work so long before it halts a
/// processor of a guest that polls (`guest_halt_poll_ns`).
pub(super) const SILENCE: Duration = Duration::from_micros(200);

/// The time of a clock that only goes forward.
pub(super) fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

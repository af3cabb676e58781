//! Looking for requests without sleeping in between.
//!
//! Reads of the connection do not wait (`O_NONBLOCK`), and the library, which tries again at once, finds the
//! next request the moment it is there. Only the client is left to be woken.
//!
//! - No thread polls longer than about twice [`SILENCE`] for a request, and until this thread gets a processor. If it
//!   did not get one when it wanted to, others want what polling takes, and it ends.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::burst::{Burst, End, SILENCE, SILENCE_NANOS, is_kept_waiting, nanoseconds};

/// Polls as long as requests come.
pub(super) fn until_silence(burst: &Burst, device: &OwnedFd) -> End {
    if !set_waiting(device, false) {
        return End::Unable;
    }
    let end = loop {
        let due = nanoseconds() + SILENCE_NANOS;
        std::thread::sleep(SILENCE);
        let now = nanoseconds();
        if burst.has_ended(now) {
            break End::Silence;
        }
        if is_kept_waiting(due, now) {
            break End::Busy;
        }
    };
    match set_waiting(device, true) {
        true => end,
        false => End::Unable,
    }
}

/// Whether reads of the connection wait for a request. `false` if that cannot be said.
fn set_waiting(device: &OwnedFd, waiting: bool) -> bool {
    let fd = device.as_fd();
    let set = fcntl_getfl(fd).and_then(|mut flags| {
        flags.set(OFlags::NONBLOCK, !waiting);
        fcntl_setfl(fd, flags)
    });
    if let Err(errno) = set {
        log::debug!("cannot change how requests are read: {errno}");
    }
    set.is_ok()
}

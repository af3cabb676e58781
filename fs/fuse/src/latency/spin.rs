//! A reader that looks for requests without sleeping, on more than two processors.
//!
//! Reads of the connection do not block (`O_NONBLOCK`), and the library tries again at once.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::burst::Burst;
use super::clock::{SILENCE, nanoseconds};

/// A thread that had to wait this long for a processor was kept from it by other programs: a halted processor is
/// awake sooner.
const KEPT_WAITING: Duration = Duration::from_micros(500);

/// Has the reader spin until requests cease. `false` if that cannot be, or other programs want the processors: this
/// thread should have run at `due` and could not.
pub(super) fn until_silence(burst: &Burst, device: &OwnedFd, mut due: u64) -> bool {
    if !set_blocking(device, false) {
        return false;
    }
    let is_welcome = loop {
        let now = nanoseconds();
        if burst.has_ended(now) {
            break true;
        }
        if now.saturating_sub(due) > KEPT_WAITING.as_nanos() as u64 {
            break false;
        }
        due = now + SILENCE.as_nanos() as u64;
        std::thread::sleep(SILENCE);
    };
    set_blocking(device, true) && is_welcome
}

/// Sets whether reads of the connection wait for a request, and returns whether that worked.
fn set_blocking(device: &OwnedFd, blocking: bool) -> bool {
    let fd = device.as_fd();
    let set = fcntl_getfl(fd).and_then(|mut flags| {
        flags.set(OFlags::NONBLOCK, !blocking);
        fcntl_setfl(fd, flags)
    });
    if let Err(errno) = set {
        log::debug!("cannot change how requests are read: fcntl(2): {errno}");
    }
    set.is_ok()
}

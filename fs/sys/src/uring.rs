//! io_uring, as far as it must be known whether there is one.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::Result;
use crate::process::last_error;

/// Makes a ring of one entry and lets go of it again (io_uring_setup(2)).
///
/// # Errors
/// `NOSYS` where the kernel has none, `PERM` where this process may have none.
pub fn probe() -> Result<()> {
    // More than the structure the kernel fills in, of which all that is asked for is zero.
    let mut parameters = [0_u64; 32];
    // SAFETY: there is room for `struct io_uring_params` (120 bytes), initialised.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    let Ok(fd @ 0..) = i32::try_from(fd) else {
        return Err(last_error());
    };
    // SAFETY: the call has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    #[test]
    fn a_ring_is_made_or_refused() {
        let probed = super::probe();
        assert!(
            matches!(
                probed,
                Ok(()) | Err(Errno::NOSYS | Errno::PERM | Errno::NOMEM)
            ),
            "{probed:?}"
        );
    }
}

//! Giving up a long copy for a caller that is being killed.
//!
//! FUSE_INTERRUPT tells of every signal, and the FUSE library does not pass it on. A copy may be given up only for a
//! fatal one, as in the kernel's overlay: chmod(2) does not fail because of a timer. Whether a thread is about to
//! die, its `/proc/TID/status` says while it waits: SIGKILL is pending for every thread of a process that a signal
//! ends. So the thread that copies looks there from time to time.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::error::{Errno, Result};

/// How often is looked.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);

/// Who waits for what a thread does.
struct Caller {
    status: String,
    /// When its status is to be read next.
    next: Instant,
}

thread_local! {
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// Does something that this thread of another process waits for, as long as it is not being killed. 0 is no thread.
///
/// # Errors
/// `INTR` from what copies data, and from waiting for another copy of the same file; nothing was changed then that
/// can be seen.
pub fn serving<T>(tid: u32, act: impl FnOnce() -> T) -> T {
    let caller = (tid != 0).then(|| Caller {
        status: format!("/proc/{tid}/status"),
        next: Instant::now(),
    });
    CALLER.set(caller);
    let done = act();
    CALLER.set(None);
    done
}

/// Whether anybody waits who may be killed.
pub(super) fn is_served() -> bool {
    CALLER.with_borrow(Option::is_some)
}

/// Fails if the caller is being killed. It is cheap enough for each few megabytes.
///
/// # Errors
/// `INTR`.
pub(crate) fn check() -> Result<()> {
    CALLER.with_borrow_mut(|caller| match caller {
        Some(caller) if caller.next <= Instant::now() => {
            caller.next = Instant::now() + INTERVAL;
            if is_being_killed(&caller.status) {
                Err(Errno::INTR)
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    })
}

/// Without a status, which procfs(5) may hide, a caller is taken for one that waits.
fn is_being_killed(status: &str) -> bool {
    shows_own_processes()
        && std::fs::read_to_string(status).is_ok_and(|status| has_pending_kill(&status))
}

/// Whether /proc counts processes as this one does, and the kernel for it: it may be one of another pid namespace.
fn shows_own_processes() -> bool {
    let own = std::fs::read_link("/proc/self");
    own.is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
}

fn has_pending_kill(status: &str) -> bool {
    const SIGKILL: u64 = 1 << 8;
    status.lines().any(|line| {
        let mask = line
            .strip_prefix("SigPnd:")
            .or_else(|| line.strip_prefix("ShdPnd:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & SIGKILL != 0)
    })
}

/// How much the kernel is to copy or write back at a time, after which is looked whether the caller still waits,
/// in bytes.
pub(super) const STEP: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pending_kill_is_fatal() {
        let status = |own: &str, shared: &str| {
            format!(
                "Name:\tx\nSigQ:\t0/1\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0000000000000100\n"
            )
        };
        let none = "0000000000000000";
        // 9, and 14 with 15.
        let (kill, others) = ("0000000000000100", "0000000000006000");
        assert!(has_pending_kill(&status(kill, none)));
        assert!(has_pending_kill(&status(none, kill)));
        assert!(!has_pending_kill(&status(others, others)));
        assert!(!has_pending_kill(""));
    }

    #[test]
    fn a_living_caller_is_served() {
        assert!(check().is_ok());
        let itself = std::process::id();
        for tid in [0, itself, u32::MAX] {
            assert_eq!(serving(tid, check), Ok(()));
        }
        assert!(!is_served());
    }
}

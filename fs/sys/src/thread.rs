//! State of one thread that Linux would otherwise share between all threads.

use std::cell::Cell;

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

use crate::Result;
use crate::process::{last_error, returned};

thread_local! {
    /// The file creation mask of this thread, once it is its own.
    static UMASK: Cell<Option<Mode>> = const { Cell::new(None) };
}

/// Gives the calling thread a file creation mask of its own and sets it.
///
/// Linux keeps the mask, the working directory and the root directory per process unless a thread
/// leaves the group with `unshare(CLONE_FS)`; the first call in a thread does so, and the working
/// directory is the thread's own from then on. A call that changes nothing costs nothing.
///
/// Creating a file under its caller's mask is what lets the file system below apply the mask or the
/// parent's default ACL, whichever of the two holds (umask(2), acl(5)).
pub fn set_umask(mask: u32) -> Result<()> {
    let mask = Mode::from_raw_mode(mask & 0o777);
    let current = UMASK.get();
    if current == Some(mask) {
        return Ok(());
    }
    if current.is_none() {
        own_fs_state()?;
    }
    rustix::process::umask(mask);
    UMASK.set(Some(mask));
    Ok(())
}

/// Makes the calling thread one that gives way to all others: of the ordinary policy, and the lowest
/// priority of that (sched(7)). It cannot be taken back without privileges.
///
/// # Errors
/// `PERM` if it is to stay what it is, and gives way already (SCHED_IDLE).
pub fn give_way() -> Result<()> {
    const LOWEST: i32 = 19;
    set_ordinary_policy()?;
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOWEST)
}

/// Makes the calling thread one of the ordinary policy and of the input and output class that follows from its
/// nice value (sched_setscheduler(2), ioprio_set(2)). Threads that it starts are like it.
///
/// # Errors
/// `PERM` if it has to keep the policy it has.
pub fn be_ordinary() -> Result<()> {
    const PROCESS: libc::c_long = 1;
    const NO_CLASS: libc::c_long = 0;
    // SAFETY: all three are numbers; 0 is the calling thread.
    let class = unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0_i64, NO_CLASS) };
    set_ordinary_policy()?;
    returned(class).map(drop)
}

fn set_ordinary_policy() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters are those of that policy.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &parameters) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

fn own_fs_state() -> Result<()> {
    // SAFETY: the flag is CLONE_FS alone. The call is unsafe because of CLONE_FILES, after which
    // descriptors of other threads would mean nothing here.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_mask_is_the_threads_own() {
        let dir = tempfile::tempdir().unwrap();
        let mode_of_new = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    set_umask(0o077).unwrap();
                    assert_eq!(mode_of_new("a"), 0o700);
                    set_umask(0).unwrap();
                    assert_eq!(mode_of_new("b"), 0o777);
                    set_umask(0o077).unwrap();
                    std::thread::scope(|inner| {
                        inner.spawn(|| {
                            set_umask(0o027).unwrap();
                            assert_eq!(mode_of_new("c"), 0o750);
                        });
                    });
                    assert_eq!(mode_of_new("d"), 0o700);
                })
                .join()
                .unwrap();
        });
    }
}

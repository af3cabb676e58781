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

/// Asks for short turns: the calling thread, and those that it starts, run sooner when they wake, and for less time
/// before others of the same priority do. They get no more time altogether (EEVDF, Linux 6.12; before that it has no
/// effect). 0.1 ms is the least there is.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn take_short_turns() -> Result<()> {
    set_turns(100_000)
}

/// Takes turns of the usual length again.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn take_usual_turns() -> Result<()> {
    set_turns(0)
}

/// Sets how long a turn of the calling thread is, in nanoseconds. 0 is the usual length.
fn set_turns(nanoseconds: u64) -> Result<()> {
    let nice = rustix::process::getpriority_process(Some(rustix::thread::gettid()))?;
    // The ordinary policy, and no flags. `nice` stays what it is, which is always allowed.
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: nanoseconds,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: 0 is the calling thread, and the kernel reads the attributes, which say how large they are.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    returned(set).map(drop)
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

    /// How long a turn of this thread is, and its nice value. Before Linux 6.12 the length is 0.
    fn turns() -> (u64, i32) {
        // SAFETY: these are numbers, of which all may be zero.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>();
        // SAFETY: 0 is the calling thread, and the kernel writes as much as was said.
        let got =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        returned(got).unwrap();
        (attributes.sched_runtime, attributes.sched_nice)
    }

    #[test]
    fn turns_become_short_and_usual_again_and_threads_inherit_them() {
        let (usual, nice) = turns();
        let short = match usual {
            0 => 0,
            _ => 100_000,
        };
        take_short_turns().unwrap();
        assert_eq!(turns(), (short, nice));
        let inherited = std::thread::spawn(|| {
            let before = turns();
            give_way().unwrap();
            take_usual_turns().unwrap();
            (before, turns())
        });
        assert_eq!(inherited.join().unwrap(), ((short, nice), (usual, 19)));
        take_usual_turns().unwrap();
        assert_eq!(turns(), (usual, nice));
    }

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

//! Ending a process whose work goes on in another one.
//!
//! A command that mounts is waited for, and what serves the mount is to live on. With fork(2) the
//! kernel copies the tables of all pages for the new process, then takes down the old one's, and in between
//! each page that is written to is copied: a fifth of the time that a mount takes. Here the new process
//! gets the memory itself (`CLONE_VM`), for the old one does not need it any more: between being two and
//! its end it makes three system calls, from registers.

use std::ffi::CStr;

use crate::Result;
use crate::process::{Fork, fork, require_one_thread};

/// Goes on in a new process, and ends the calling one with status 0. The new one has what fork(2) hands
/// down, and a process group of its own as soon as the old one has ended.
///
/// The old process is called `name` (`PR_SET_NAME`) from then until somebody has waited for it. No
/// function registered with atexit(3) is called in it, and nothing is flushed.
///
/// # Errors
/// `BUSY` if the process has more than one thread, as in [`fork`]; otherwise
/// those of clone(2).
pub fn go_on_in_child(name: &'static CStr) -> Result<()> {
    require_one_thread()?;
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    if let Some(tid) = with_memory::place_of_tid() {
        return with_memory::go_on(name, tid);
    }
    by_fork(name)
}

/// The same with a copy of the memory, as it is done on machines and with C libraries for which nobody has
/// tried the other way.
///
/// # Errors
/// Those of [`fork`].
pub fn by_fork(name: &'static CStr) -> Result<()> {
    if let Fork::Parent(child) = fork()? {
        // Neither can fail for a child that has just been made, and for this process.
        rustix::process::setpgid(Some(child), None).ok();
        rustix::thread::set_name(name).ok();
        // SAFETY: ends the process, without anything that the other one may be doing as well.
        unsafe { libc::_exit(0) }
    }
    Ok(())
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod with_memory {
    use std::arch::asm;
    use std::ffi::CStr;
    use std::mem::MaybeUninit;
    use std::ptr::{NonNull, null_mut};

    use rustix::io::Errno;

    use crate::Result;
    use crate::process::ok_or;

    /// Where the C library keeps the number of its first thread, which is another one in the new process. The
    /// kernel knows (`PR_GET_TID_ADDRESS`), if it was made to tell.
    pub(super) fn place_of_tid() -> Option<NonNull<libc::pid_t>> {
        let mut place = null_mut::<libc::pid_t>();
        // SAFETY: the kernel writes an address where there is room for one.
        let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) };
        (told == 0).then_some(place).and_then(NonNull::new)
    }

    pub(super) fn go_on(name: &'static CStr, tid: NonNull<libc::pid_t>) -> Result<()> {
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the set, which is then read; the mask that was is written where
        // there is room for it.
        let blocked = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr())
        };
        ok_or(blocked)?;
        // SAFETY: without an address the kernel does nothing at the end of this process. With that of the
        // C library it would write 0 there, into memory that is the other's.
        unsafe { libc::syscall(libc::SYS_set_tid_address, 0_usize) };
        // SAFETY: there is one thread, all signals are blocked, and `tid` is what the C library gave the kernel.
        let made = unsafe { part(name, tid) };
        // SAFETY: in the new process, or in the old one if there is no other, as at the start of it.
        let unblocked = unsafe {
            if made.is_err() {
                libc::syscall(libc::SYS_set_tid_address, tid.as_ptr());
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut())
        };
        made.and(ok_or(unblocked))
    }

    /// The new process returns from this; the old one does if there is none.
    ///
    /// # Safety
    /// No other thread may use the memory, and no signal may make the old process write to the stack. `tid` is where
    /// the number of this thread is written.
    unsafe fn part(name: &'static CStr, tid: NonNull<libc::pid_t>) -> Result<()> {
        // As fork(3) does, but for the memory. The table of descriptors is copied all the same: where two
        // processes have one, making room in it takes milliseconds (`expand_fdtable`).
        const FLAGS: libc::c_int =
            libc::CLONE_VM | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        let result: isize;
        // SAFETY: without a stack of its own (second argument), the new process goes on with this one. The old
        // one does not touch it, nor any other memory: it has three system calls to make, with what is
        // in registers, and the last does not return. The name that the kernel reads meanwhile is a constant.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jle 2f",
                "mov rdi, rax",
                "xor esi, esi",
                "mov eax, {setpgid}",
                "syscall",
                "mov edi, {set_name}",
                "mov rsi, {name}",
                "mov eax, {prctl}",
                "syscall",
                "xor edi, edi",
                "mov eax, {exit_group}",
                "syscall",
                "ud2",
                "2:",
                setpgid = const libc::SYS_setpgid,
                set_name = const libc::PR_SET_NAME,
                prctl = const libc::SYS_prctl,
                exit_group = const libc::SYS_exit_group,
                name = in(reg) name.as_ptr(),
                inout("rax") libc::SYS_clone as isize => result,
                inout("rdi") FLAGS as isize => _,
                inout("rsi") 0_isize => _,
                in("rdx") 0_isize,
                in("r10") tid.as_ptr(),
                in("r8") 0_isize,
                out("rcx") _,
                out("r11") _,
            );
        }
        match result {
            0 => Ok(()),
            error => Err(Errno::from_raw_os_error(-error as i32)),
        }
    }
}

//! Ending a process whose work goes on in another one.
//!
//! A command that mounts is waited for, and what serves the mount is to live on. With fork(2) the
//! kernel copies the tables of all pages for the new process, then takes down the old one's, and in between
//! each page that is written to is copied: a fifth of the time that a mount takes. Here the new process
//! gets the memory itself (`CLONE_VM`), for the old one does not need it any more: between being two and
//! its end it makes three system calls, from registers.

use std::ffi::CStr;

use crate::Result;
use crate::process::{Fork, fork};

/// Goes on in a new process, and ends the calling one with status 0. The new one has what fork(2) hands
/// down, and a process group of its own as soon as the old one has ended.
///
/// The old process is called `name` (`PR_SET_NAME`) from then until its parent has waited for it. No
/// function registered with atexit(3) is called in it, and nothing is flushed.
///
/// # Errors
/// `BUSY` if the process has more than one thread, as in [`fork`]; otherwise those of fork(2).
pub fn go_on_in_child(name: &'static CStr) -> Result<()> {
    #[cfg(all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        target_env = "gnu"
    ))]
    if with_memory::go_on(name).is_ok() {
        return Ok(());
    }
    by_fork(name)
}

/// The same with a copy of the memory, as it is done on machines and with C libraries for which the other
/// way is untried, and where that is refused: by an emulator, or a filter of system calls (seccomp(2)).
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

#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    target_env = "gnu"
))]
mod with_memory {
    //! What the kernel keeps for a thread is not handed on with memory, as it is by fork(2): the place of
    //! the thread's number, the alternate signal stack, and the area of restartable sequences are given to the new
    //! process here. Left out are robust mutexes, of which there are none. A shadow stack of a user
    //! program would be empty in the new process; this program is not marked for one.

    use std::arch::asm;
    use std::ffi::CStr;
    use std::mem::MaybeUninit;
    use std::ptr::{NonNull, null, null_mut};

    use rustix::io::Errno;

    use crate::Result;
    use crate::process::{last_error, require_one_thread, returned};

    /// All signals, those of the C library, too; of which there is no mask.
    const ALL: u64 = u64::MAX;

    pub(super) fn go_on(name: &'static CStr) -> Result<()> {
        require_one_thread()?;
        let tid = place_of_tid()?;
        let before = exchange_mask(ALL)?;
        let gone_on = go_on_undisturbed(name, tid);
        // In the new process, or in the old one if there is no other.
        exchange_mask(before)?;
        gone_on
    }

    /// With all signals blocked.
    fn go_on_undisturbed(name: &'static CStr, tid: NonNull<libc::pid_t>) -> Result<()> {
        let sequences = Sequences::unregister()?;
        let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
        // SAFETY: asks which alternate stack there is, and has room for the answer.
        unsafe { libc::sigaltstack(null(), stack.as_mut_ptr()) };
        // SAFETY: without an address the kernel does nothing at the end of this process. With that of the
        // C library it would write 0 there, into memory that is the other's.
        unsafe { libc::syscall(libc::SYS_set_tid_address, 0_usize) };
        // SAFETY: there is one thread, all signals are blocked, and `tid` is what the C library gave the kernel.
        let parted = unsafe { part(name, tid) };
        if parted.is_ok() {
            // SAFETY: it is the stack that there was before, or none.
            unsafe { libc::sigaltstack(stack.as_ptr(), null_mut()) };
        } else {
            // SAFETY: it is the address that there was before.
            unsafe { libc::syscall(libc::SYS_set_tid_address, tid.as_ptr()) };
        }
        if let Some(sequences) = sequences {
            sequences.register();
        }
        parted
    }

    /// Where the C library keeps the number of its first thread, which is another one in the new process. The
    /// kernel knows (`PR_GET_TID_ADDRESS`), if it was made to tell.
    fn place_of_tid() -> Result<NonNull<libc::pid_t>> {
        let mut place = null_mut::<libc::pid_t>();
        // SAFETY: the kernel writes an address where there is room for one.
        match unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) } {
            0 => NonNull::new(place).ok_or(Errno::INVAL),
            _ => Err(last_error()),
        }
    }

    /// Sets the mask of blocked signals, and returns the one that was. The C library would leave out its own.
    fn exchange_mask(mask: u64) -> Result<u64> {
        let mut before = 0_u64;
        // SAFETY: both are masks of the size that is passed.
        let set = unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK as isize,
                &raw const mask,
                &raw mut before,
                size_of::<u64>(),
            )
        };
        returned(set).map(|_| before)
    }

    /// The area of restartable sequences that the C library has registered for this thread (`linux/rseq.h`).
    /// The kernel writes there on which processor the thread is, and stops doing so in the new process.
    struct Sequences {
        area: usize,
        length: u32,
    }

    impl Sequences {
        const UNREGISTER: u32 = 1;
        /// `RSEQ_SIG` of x86.
        const SIGNATURE: u32 = 0x5305_3053;
        /// The first `struct rseq`, which is the least that is registered, in bytes.
        const LEAST: u32 = 32;

        /// `None` if there is none to unregister.
        fn unregister() -> Result<Option<Self>> {
            let Some(area) = Self::place() else {
                return Ok(None);
            };
            // `linux/auxvec.h`. What an older kernel does not tell is 0.
            const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;
            const AT_RSEQ_ALIGN: libc::c_ulong = 28;
            // SAFETY: asks for a number.
            let told = |what| unsafe { libc::getauxval(what) };
            let (size, align) = (told(AT_RSEQ_FEATURE_SIZE), told(AT_RSEQ_ALIGN));
            let longer = size.next_multiple_of(align.max(1)) as u32;
            for length in [Self::LEAST, longer] {
                let sequences = Self { area, length };
                if sequences.call(Self::UNREGISTER).is_ok() {
                    return Ok(Some(sequences));
                }
            }
            Err(last_error())
        }

        fn register(&self) {
            // Without it the C library makes a system call where it would have looked there.
            self.call(0).ok();
        }

        fn call(&self, flags: u32) -> Result<()> {
            // SAFETY: the area is the C library's own, of this length, as it was registered.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_rseq,
                    self.area,
                    self.length as usize,
                    flags as usize,
                    Self::SIGNATURE as usize,
                )
            };
            returned(result).map(drop)
        }

        /// Where it is, if the C library has one (glibc 2.35) and has registered it.
        fn place() -> Option<usize> {
            let (thread, offset, size): (usize, *const isize, *const u32);
            // SAFETY: reads the address of this thread's block, and those of two variables, which are null in
            // a C library that does not have them.
            unsafe {
                asm!(
                    ".weak __rseq_offset",
                    ".weak __rseq_size",
                    "mov {thread}, qword ptr fs:[0]",
                    "mov {offset}, qword ptr [rip + __rseq_offset@GOTPCREL]",
                    "mov {size}, qword ptr [rip + __rseq_size@GOTPCREL]",
                    thread = out(reg) thread,
                    offset = out(reg) offset,
                    size = out(reg) size,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            // SAFETY: both are constants of the C library once the program has started.
            let (offset, size) = unsafe { (offset.as_ref()?, size.as_ref()?) };
            (*size > 0).then(|| thread.wrapping_add_signed(*offset))
        }
    }

    /// The new process returns from this; the old one does if there is none.
    ///
    /// # Safety
    /// No other thread may use the memory, and no signal may make the old process write to the stack. `tid` is where
    /// the number of this thread is written.
    unsafe fn part(name: &'static CStr, tid: NonNull<libc::pid_t>) -> Result<()> {
        // As fork(3) does, but for the memory. The table of descriptors is still copied: where two
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

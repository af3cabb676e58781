//! Filters of system calls (seccomp(2)).

use crate::Result;
use crate::process::returned;

/// One instruction of a classic BPF program (`struct sock_filter`, linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// Filters the system calls of the calling thread and of what it executes from now on. Filters add up;
/// none can be taken away (seccomp(2), `SECCOMP_SET_MODE_FILTER`).
///
/// Unlike most libraries this does not set `no_new_privs`, so set-uid programs keep working.
///
/// # Errors
/// `ACCES` without CAP_SYS_ADMIN where `no_new_privs` is not set, `INVAL` if the program is empty, too
/// long or not valid, `NOSYS` if the kernel has no filters.
pub fn install(program: &[Instruction]) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| rustix::io::Errno::INVAL)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies `len` instructions, whose layout is that of `sock_filter`, and changes
    // nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    returned(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_filter_is_refused() {
        assert_eq!(install(&[]), Err(rustix::io::Errno::INVAL));
    }

    #[test]
    fn instructions_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
    }
}

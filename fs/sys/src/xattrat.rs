//! The system calls for attributes of a name below a directory: setxattrat(2), getxattrat(2),
//! listxattrat(2) and removexattrat(2), of Linux 6.13.
//!
//! They are looked for once, since an older kernel has none of them, and who runs the program may have
//! filtered what he does not know (seccomp(2)).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::Result;
use crate::process::{last_error, returned};

/// Whether system calls have the same numbers here as on nearly every architecture.
const HAS_NUMBERS: bool = cfg!(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "powerpc64",
    target_arch = "riscv64",
    target_arch = "s390x",
));

// `include/uapi/asm-generic/unistd.h`.
const SETXATTRAT: libc::c_long = 463;
const GETXATTRAT: libc::c_long = 464;
const LISTXATTRAT: libc::c_long = 465;
const REMOVEXATTRAT: libc::c_long = 466;

/// `struct xattr_args` of `linux/xattr.h`.
#[repr(C, align(8))]
struct Arguments {
    value: u64,
    size: u32,
    flags: u32,
}

/// Whether they can be used.
pub(crate) fn are_there() -> bool {
    static ARE: OnceLock<bool> = OnceLock::new();
    HAS_NUMBERS && *ARE.get_or_init(|| probe() == Errno::INVAL)
}

/// What is said to flags that mean nothing.
fn probe() -> Errno {
    const NO_FLAGS: libc::c_long = -1;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: nothing is read or written: there is neither a path nor a buffer.
    unsafe { libc::syscall(LISTXATTRAT, -1_isize, none, NO_FLAGS, none, 0_usize) };
    last_error()
}

/// # Errors
/// Those of lgetxattr(2).
pub(crate) fn get(
    dir: BorrowedFd<'_>,
    path: &CStr,
    name: &CStr,
    buffer: &mut [u8],
) -> Result<usize> {
    let arguments = Arguments {
        value: buffer.as_mut_ptr().expose_provenance() as u64,
        size: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: the address is that of a buffer of at least this length, which is borrowed for the call.
    unsafe { call(GETXATTRAT, dir, path, name, &arguments) }
}

/// # Errors
/// Those of llistxattr(2).
pub(crate) fn list(dir: BorrowedFd<'_>, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the path ends with NUL, and the buffer is passed with its length.
    returned(unsafe {
        libc::syscall(
            LISTXATTRAT,
            dir.as_raw_fd() as isize,
            path.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW as isize,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })
}

/// # Errors
/// Those of lsetxattr(2).
pub(crate) fn set(
    dir: BorrowedFd<'_>,
    path: &CStr,
    name: &CStr,
    value: &[u8],
    flags: XattrFlags,
) -> Result<()> {
    let arguments = Arguments {
        value: value.as_ptr().expose_provenance() as u64,
        size: u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?,
        flags: flags.bits(),
    };
    // SAFETY: the address is that of a value of this length, which is only read.
    unsafe { call(SETXATTRAT, dir, path, name, &arguments) }.map(drop)
}

/// getxattrat(2) or setxattrat(2).
///
/// # Safety
/// There must be as many bytes as `arguments` says where it says, to be written or read.
unsafe fn call(
    number: libc::c_long,
    dir: BorrowedFd<'_>,
    path: &CStr,
    name: &CStr,
    arguments: &Arguments,
) -> Result<usize> {
    // SAFETY: both strings end with NUL, and the structure is passed with its size.
    returned(unsafe {
        libc::syscall(
            number,
            dir.as_raw_fd() as isize,
            path.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW as isize,
            name.as_ptr(),
            std::ptr::from_ref(arguments),
            size_of::<Arguments>(),
        )
    })
}

/// # Errors
/// Those of lremovexattr(2).
pub(crate) fn remove(dir: BorrowedFd<'_>, path: &CStr, name: &CStr) -> Result<()> {
    // SAFETY: both strings end with NUL.
    let removed = unsafe {
        libc::syscall(
            REMOVEXATTRAT,
            dir.as_raw_fd() as isize,
            path.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW as isize,
            name.as_ptr(),
        )
    };
    returned(removed).map(drop)
}

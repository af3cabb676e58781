//! Keyrings (keyrings(7)).

use crate::Result;
use crate::process::returned;

/// Gives this process a new, empty session keyring, so that it and its children no longer possess the
/// keys of the caller (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
///
/// # Errors
/// `NOSYS` if the kernel has no keyrings, `PERM` if a filter forbids the call, `DQUOT` if the user has
/// too many keys.
pub fn join_new_session() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a keyring without one; nothing is read or written.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    returned(result).map(drop)
}

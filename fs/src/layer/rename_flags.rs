//! Which flags of renameat2(2) a file system knows.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, RenameFlags};

use crate::error::{Errno, Result};

/// Which flags of renameat2(2) a file system knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moves {
    /// `RENAME_NOREPLACE`.
    pub(super) noreplace: bool,
    /// `RENAME_EXCHANGE`.
    pub(crate) exchange: bool,
    /// `RENAME_WHITEOUT`.
    pub(crate) whiteout: bool,
}

impl Moves {
    /// All of them.
    const ALL: Self = Self {
        noreplace: true,
        exchange: true,
        whiteout: true,
    };

    /// The names of the flags that are missing, for a message. `RENAME_WHITEOUT` is among them only if
    /// `needs_whiteout`: whiteouts that are files beside the name need no such flag.
    pub(super) fn missing(self, needs_whiteout: bool) -> Vec<&'static str> {
        let all = [
            (self.whiteout || !needs_whiteout, "RENAME_WHITEOUT"),
            (self.exchange, "RENAME_EXCHANGE"),
            (self.noreplace, "RENAME_NOREPLACE"),
        ];
        let missing = all.iter().filter(|(known, _)| !known);
        missing.map(|(_, name)| *name).collect()
    }
}

/// Whether an error says that a file system does not know a flag of renameat2(2), or, for whiteouts, that it makes
/// no devices.
fn is_unknown(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM
    )
}

/// Turns an unknown flag into `false`.
fn is_known(renamed: Result<()>) -> Result<bool> {
    match renamed {
        Ok(()) => Ok(true),
        Err(errno) if is_unknown(errno) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Tries the flags in a directory that holds nothing of these two names. `devices` says that whiteouts are devices.
///
/// # Errors
/// What making and moving files fails with for other reasons.
pub(crate) fn probe(
    dir: BorrowedFd<'_>,
    (one, other): (&OsStr, &OsStr),
    devices: bool,
) -> Result<Moves> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let make = |name| rustix::fs::openat(dir, name, flags, Mode::RUSR).map(drop);
    let rename = |from, to, flags| is_known(rustix::fs::renameat_with(dir, from, dir, to, flags));
    make(one)?;
    // Most know all of them: two system calls tell.
    if devices
        && rename(one, other, RenameFlags::WHITEOUT | RenameFlags::NOREPLACE)?
        && rename(one, other, RenameFlags::EXCHANGE)?
    {
        return Ok(Moves::ALL);
    }
    crate::disk::remove_tree::remove(dir, one)?;
    crate::disk::remove_tree::remove(dir, other)?;
    make(one)?;
    let noreplace = rename(one, other, RenameFlags::NOREPLACE)?;
    if noreplace {
        make(one)?;
    } else {
        make(other)?;
    }
    let exchange = rename(one, other, RenameFlags::EXCHANGE)?;
    let whiteout = devices && rename(one, other, RenameFlags::WHITEOUT)?;
    Ok(Moves {
        noreplace,
        exchange,
        whiteout,
    })
}

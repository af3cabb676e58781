//! System calls on one object, however it is reached: by a descriptor, or by a name below one ([`At`]).
//!
//! What stat(2) returns here is without the permissions that the daemon lends itself
//! ([`unlent`]).

use std::ffi::OsStr;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use plyfs_sys::xattr::At;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
};
use rustix::io::ReadWriteFlags;

use crate::disk::calls;
use crate::disk::lent_modes::unlent;
use crate::error::{Errno, Result, decided};
use crate::types::{Attr, Device, FileKind, Timestamp};

/// What of statx(2) an attribute needs.
const STATX: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// statx(2) of an object, not following a link.
pub(crate) fn stat(at: At<'_>) -> Result<Statx> {
    match at {
        At::Fd(fd) => stat_fd(fd),
        At::Name(dir, name) => stat_name(dir, name),
    }
}

/// statx(2) of a descriptor.
pub(crate) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx> {
    unlent(|| rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, STATX))
}

/// statx(2) of a name, not following a link.
pub(crate) fn stat_name(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx> {
    unlent(|| rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, STATX))
}

/// Turns "there is no such name" into `None`.
pub(crate) fn stat_of_absent(stat: Result<Statx>) -> Result<Option<Statx>> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The device an object lies on.
pub(crate) fn device_of(stat: &Statx) -> Device {
    Device {
        major: stat.stx_dev_major,
        minor: stat.stx_dev_minor,
    }
}

/// Opens an object: a regular file, a directory, or whatever it is with `O_PATH`. A symbolic link is not followed.
///
/// # Errors
/// `STALE` for anything else, which the owner of a layer may have put in the place of a file that is known. Opening
/// a fifo would wait for a writer, and with it all users of the mount.
pub(crate) fn open(at: At<'_>, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    if flags.intersects(OFlags::PATH | OFlags::DIRECTORY) {
        return open_any(at, flags);
    }
    let opened = match open_any(at, flags | OFlags::NONBLOCK) {
        // A process has a lease on it, which only a regular file has (fcntl(2)), and gets time to end that.
        Err(Errno::WOULDBLOCK) => open_any(at, flags),
        // A socket, or a device without a driver.
        Err(Errno::NXIO | Errno::NODEV) => Err(decided(Errno::STALE)),
        opened => opened,
    }?;
    let mode = rustix::fs::fstat(&opened)?.st_mode;
    match FileKind::from_mode(mode) {
        Some(FileKind::Regular | FileKind::Directory) => Ok(opened),
        _ => Err(decided(Errno::STALE)),
    }
}

fn open_any(at: At<'_>, flags: OFlags) -> Result<OwnedFd> {
    match at {
        At::Fd(fd) => rustix::fs::open(proc_path(fd), flags, Mode::empty()),
        At::Name(dir, name) => {
            rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
    }
}

/// chmod(2) of an object that is no symbolic link.
pub(crate) fn chmod(at: At<'_>, mode: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match at {
        // Of an `O_PATH` descriptor only its path can be used (open(2)).
        At::Fd(fd) => match rustix::fs::fchmod(fd, mode) {
            Err(Errno::BADF) => rustix::fs::chmod(proc_path(fd), mode),
            other => other,
        },
        At::Name(dir, name) => rustix::fs::chmodat(dir, name, mode, AtFlags::empty()),
    }
}

/// chown(2) of an object, not following a link.
pub(crate) fn chown(at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    match at {
        At::Fd(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        At::Name(dir, name) => rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// utimensat(2) of an object, not following a link.
pub(crate) fn set_times(at: At<'_>, times: &Timestamps) -> Result<()> {
    match at {
        At::Fd(fd) => match rustix::fs::futimens(fd, times) {
            Err(Errno::BADF) => {
                rustix::fs::utimensat(rustix::fs::CWD, proc_path(fd), times, AtFlags::empty())
            }
            other => other,
        },
        At::Name(dir, name) => rustix::fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// preadv2(2) of what is in memory, `AGAIN` if there is nothing of it (`RWF_NOWAIT`).
pub(crate) fn read_in_memory(fd: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut buffers = [IoSliceMut::new(buffer)];
    rustix::io::preadv2(fd, &mut buffers, offset, ReadWriteFlags::NOWAIT)
}

/// Sets the time of the last change of an open file.
pub(crate) fn set_mtime(fd: BorrowedFd<'_>, mtime: Timestamp) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    };
    rustix::fs::futimens(fd, &times)
}

/// The path that leads to the object of a descriptor, whatever it is (proc_pid_fd(5)).
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens a directory below another for use with the `*at` calls.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Sets the times of a directory to what they were before something was put into it that it showed
/// already.
pub(crate) fn restore_times(dir: BorrowedFd<'_>, before: &Statx) {
    if let Err(errno) = set_times_of(At::Fd(dir), before) {
        log::debug!("cannot restore the times of a directory: {errno}");
    }
}

/// Gives an object the times that one had.
pub(crate) fn set_times_of(at: At<'_>, stat: &Statx) -> Result<()> {
    match Attr::from_statx(stat) {
        Some(attr) => calls::set_times(at, &times_of(&attr)),
        None => Ok(()),
    }
}

/// Both times of a file, to be set on another.
pub(crate) fn times_of(attr: &Attr) -> Timestamps {
    let timespec = |time: Timestamp| Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: timespec(attr.atime),
        last_modification: timespec(attr.mtime),
    }
}

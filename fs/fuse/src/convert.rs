//! Translation between the overlay's types and those of the FUSE library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};

use plyfs_fs::Errno;
use plyfs_fs::types::{Attr, Caller, Device, FileKind, SetTime, Timestamp};

pub(crate) fn errno(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error.raw_os_error())
}

pub(crate) fn caller(request: &fuser::Request, umask: u32) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
        umask,
    }
}

pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::Block => FileType::BlockDevice,
        FileKind::Char => FileType::CharDevice,
    }
}

/// Attributes under a number, which is that of the node where the protocol takes it for one.
pub(crate) fn attr(attr: &Attr, number: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: encode(attr.rdev),
        blksize: attr.blksize,
        flags: 0,
    }
}

/// Attributes of no file: with a number of zero the kernel remembers that a name is absent.
pub(crate) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// A device number as the protocol carries it (`new_encode_dev` of the kernel).
fn encode(device: Device) -> u32 {
    (device.minor & 0xff) | (device.major << 8) | ((device.minor & !0xff) << 12)
}

/// The inverse of [`encode`].
pub(crate) fn decode(device: u32) -> Device {
    Device {
        major: (device & 0xf_ff00) >> 8,
        minor: (device & 0xff) | ((device >> 12) & 0xf_ff00),
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(time.nanos.into());
    let secs = Duration::from_secs(time.secs.unsigned_abs());
    let whole = match time.secs {
        0.. => UNIX_EPOCH.checked_add(secs),
        _ => UNIX_EPOCH.checked_sub(secs),
    };
    let exact = whole.and_then(|whole| whole.checked_add(nanos));
    exact.unwrap_or(UNIX_EPOCH)
}

fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos(),
        },
        Err(error) => {
            let before = error.duration();
            let secs = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            // The library takes the fraction, which counts forward, for one that counts back.
            Timestamp {
                secs: secs.saturating_neg(),
                nanos: before.subsec_nanos(),
            }
        }
    }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_on_both_sides_of_1970_survive() {
        for (secs, nanos) in [(0, 0), (1_700_000_000, 999_999_999)] {
            let time = Timestamp { secs, nanos };
            assert_eq!(timestamp(system_time(time)), time);
        }
    }

    /// Fault of the library, which takes the fraction of a time before 1970 to count back.
    #[test]
    fn a_fraction_before_1970_counts_forward() {
        let from_library = |secs: u64, nanos| UNIX_EPOCH - Duration::new(secs, nanos);
        for (secs, nanos) in [(1, 1), (2, 0), (100, 7)] {
            let time = timestamp(from_library(secs, nanos));
            assert_eq!((time.secs, time.nanos), (-(secs as i64), nanos));
        }
    }

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(0, 0), (1, 3), (8, 1), (259, 70_000), (4095, 0xf_ffff)] {
            let device = Device { major, minor };
            assert_eq!(decode(encode(device)), device);
        }
    }
}

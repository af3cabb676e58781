//! Numbers: which inode number an object of a layer has on the mount.
//!
//! Two numbers exist for a file and are separate ideas. The *node id* is how the transport names a
//! node while it is known; `st_ino` is what stat(2) shows. The FUSE library answers a lookup with one
//! number for both, so ids are chosen to serve as `st_ino` too: derived from the object's own inode
//! number and its file system, they are the same after a remount, whatever else was looked up
//! before. As with `xino=on` of the kernel, the file system is kept in the high bits, and that of the upper layer is 0.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::types::{Device, ROOT_ID};

/// An object below the mount: a file system, by its index in the [`InoMapper`], and an inode number, in
/// one number where they fit. Others have a number that the [`InoMapper`] keeps for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct ObjectId(u64);

/// Bits of a number that are the object's own inode number.
const INO_BITS: u32 = 56;
/// The file-system part of numbers that are not derived from an object.
const DYNAMIC_FS: u64 = 0xff;

/// The file systems the layers lie on, in the order they were first seen.
#[derive(Debug, Default)]
pub(crate) struct InoMapper {
    devices: RwLock<Vec<Device>>,
    /// Objects whose numbers do not fit.
    large: Mutex<HashMap<(u16, u64), u64>>,
    /// How many identities were given that no object has.
    nameless: AtomicU64,
}

impl InoMapper {
    /// The identity of an object from the device and inode number of its stat.
    pub(crate) fn object(&self, device: Device, ino: u64) -> ObjectId {
        let fs = self.index(device);
        if ino >> INO_BITS == 0 && u64::from(fs) < DYNAMIC_FS {
            return ObjectId(u64::from(fs) << INO_BITS | ino);
        }
        let mut large = self.large.lock();
        let next = large.len() as u64;
        ObjectId(dynamic(*large.entry((fs, ino)).or_insert(next)))
    }

    /// An identity that no object has, for a node whose object gets another one.
    pub(crate) fn nameless(&self) -> ObjectId {
        // Far above what `large` counts.
        const FIRST: u64 = 1 << (INO_BITS - 1);
        ObjectId(dynamic(
            FIRST + self.nameless.fetch_add(1, Ordering::Relaxed),
        ))
    }

    /// The number of a file system, which it has from now on.
    pub(crate) fn index(&self, device: Device) -> u16 {
        let position = |devices: &[Device]| devices.iter().position(|known| *known == device);
        let found = position(&self.devices.read());
        let index = found.unwrap_or_else(|| {
            let mut devices = self.devices.write();
            position(&devices).unwrap_or_else(|| {
                devices.push(device);
                devices.len() - 1
            })
        });
        // Beyond 65535 file systems objects could be taken for each other; there cannot be that
        // many, since every one is a mount below one of 500 layers' directories.
        u16::try_from(index).unwrap_or(u16::MAX)
    }
}

impl ObjectId {
    /// The number derived from the object. `None` if it does not fit: the inode number uses the
    /// high bits, there are too many file systems, or the number is one the protocol reserves.
    pub(crate) fn derived(self) -> Option<u64> {
        let is_own = self.0 >> INO_BITS != DYNAMIC_FS;
        (is_own && self.0 > ROOT_ID).then_some(self.0)
    }
}

/// The `n`th number that belongs to no object.
pub(crate) fn dynamic(n: u64) -> u64 {
    DYNAMIC_FS << INO_BITS | (n & ((1 << INO_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Device = Device { major: 8, minor: 1 };
    const OTHER: Device = Device {
        major: 0,
        minor: 40,
    };

    #[test]
    fn objects_of_the_first_file_system_keep_their_numbers() {
        let ino_mapper = InoMapper::default();
        assert_eq!(ino_mapper.object(ONE, 1234).derived(), Some(1234));
    }

    #[test]
    fn objects_of_different_file_systems_have_different_numbers() {
        let ino_mapper = InoMapper::default();
        let one = ino_mapper.object(ONE, 1234);
        let other = ino_mapper.object(OTHER, 1234);
        assert_ne!(one.derived(), other.derived());
        assert_eq!(ino_mapper.object(OTHER, 1234), other);
    }

    #[test]
    fn reserved_and_large_numbers_are_not_derived() {
        let ino_mapper = InoMapper::default();
        assert_eq!(ino_mapper.object(ONE, 0).derived(), None);
        assert_eq!(ino_mapper.object(ONE, ROOT_ID).derived(), None);
        let large = ino_mapper.object(ONE, 1 << 60);
        assert_eq!(large.derived(), None);
        assert_eq!(large, ino_mapper.object(ONE, 1 << 60));
        assert_ne!(large, ino_mapper.object(ONE, 1 << 61));
        assert_ne!(large, ino_mapper.object(OTHER, 1 << 60));
        assert_ne!(dynamic(0), dynamic(1));
    }
}

//! Origins: the lower files that copies come from.
//!
//! A copy remembers its lower file by the file's handle, as the kernel's overlay does, so that its
//! inode number stays what it was, after a remount too. The kernel decodes a handle to the inode;
//! that takes privileges in user space, and only the number is wanted. File systems put the inode
//! number into the handle, so it is read from there, where the handle of a layer's root shows that
//! this file system does.

use std::os::fd::{AsFd, BorrowedFd};

use plyfs_format::handle::FileHandle;
use plyfs_format::names::{Namespace, Record};
use plyfs_sys::handle::{self, Handle};
use plyfs_sys::xattr::{self, At};
use rustix::fs::{Mode, OFlags, Statx, XattrFlags};

use crate::disk::calls::{device_of, stat_fd};
use crate::layer::lower::Layer;
use crate::layer::object_id::{InoMapper, ObjectId};
use crate::types::Device;

/// What is known of the file systems of the lower layers.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    systems: Vec<System>,
}

/// A file system whose handles tell inode numbers.
#[derive(Debug)]
struct System {
    device: Device,
    uuid: [u8; 16],
    layout: Layout,
}

/// Where in a handle the inode number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    kind: u8,
    /// Of the whole handle, in bytes.
    length: usize,
    /// Of the number, in bytes.
    offset: usize,
    width: usize,
}

impl Layout {
    /// The layout of handles on the file system that this one is of.
    fn find(handle: &Handle, ino: u64) -> Option<Self> {
        let kind = u8::try_from(handle.kind).ok()?;
        // XFS has the number first, in 8 bytes, tmpfs after a generation. ext4, and XFS where they are
        // enough, have it in 4, before a generation: one of 0 would make 8 of them look like the number.
        let first = if handle.bytes.len() == 8 {
            (0, 4)
        } else {
            (0, 8)
        };
        [first, (4, 8), (0, 4)]
            .into_iter()
            .map(|(offset, width)| Self {
                kind,
                length: handle.bytes.len(),
                offset,
                width,
            })
            .find(|layout| layout.read(&handle.bytes) == Some(ino))
    }

    fn read(&self, bytes: &[u8]) -> Option<u64> {
        let field = bytes.get(self.offset..self.offset + self.width)?;
        let mut number = [0; 8];
        if cfg!(target_endian = "big") {
            number[8 - self.width..].copy_from_slice(field);
        } else {
            number[..self.width].copy_from_slice(field);
        }
        Some(u64::from_ne_bytes(number))
    }
}

impl Origins {
    /// Looks at the file systems of the lower layers.
    pub(crate) fn probe(lowers: &[Layer]) -> Self {
        let mut probed = Vec::new();
        for layer in lowers {
            let Some(device) = layer.device else { continue };
            // Usually the layers are all on one file system.
            if !probed.iter().any(|(known, _)| *known == device) {
                probed.push((device, System::probe(layer.root.as_fd())));
            }
        }
        let systems = probed.into_iter().filter_map(|(_, system)| system);
        Self {
            systems: systems.collect(),
        }
    }

    fn on(&self, device: Device) -> Option<&System> {
        self.systems.iter().find(|system| system.device == device)
    }

    /// The record of a lower file; `None` if its file system has no handles that would help, or has the UUID of
    /// another one.
    pub(crate) fn record(&self, at: At<'_>, stat: &Statx) -> Option<Vec<u8>> {
        let system = self.on(device_of(stat))?;
        let handle = handle::of(at).ok()?;
        let handle = FileHandle {
            upper: false,
            kind: u8::try_from(handle.kind).ok()?,
            uuid: system.uuid,
            bytes: handle.bytes,
        };
        // FUSE has ids in its handles that only look like inode numbers, and others when it is mounted again.
        if self.read(&handle) != Some((system.device, stat.stx_ino)) {
            return None;
        }
        handle.encode()
    }

    /// The object a record names; `None` if it is of no file system here, or of several.
    pub(crate) fn object(&self, record: &[u8], ino_mapper: &InoMapper) -> Option<ObjectId> {
        let (device, ino) = self.read(&FileHandle::parse(record)?)?;
        Some(ino_mapper.object(device, ino))
    }

    /// The file system and inode number in a handle; `None` if it is of no file system here, or of several.
    fn read(&self, handle: &FileHandle) -> Option<(Device, u64)> {
        let fits = |system: &&System| {
            let layout = system.layout;
            system.uuid == handle.uuid
                && layout.kind == handle.kind
                && layout.length == handle.bytes.len()
        };
        let mut systems = self.systems.iter().filter(fits);
        let (system, None) = (systems.next()?, systems.next()) else {
            return None;
        };
        Some((system.device, system.layout.read(&handle.bytes)?))
    }
}

impl System {
    fn probe(root: BorrowedFd<'_>) -> Option<Self> {
        let handle = handle::of(At::Fd(root)).ok()?;
        let stat = stat_fd(root).ok()?;
        Some(Self {
            device: device_of(&stat),
            uuid: uuid(root),
            layout: Layout::find(&handle, stat.stx_ino)?,
        })
    }
}

/// The UUID of a directory's file system, as far as it can be learned.
pub(super) fn uuid(dir: BorrowedFd<'_>) -> [u8; 16] {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, c".", flags, Mode::empty());
    opened
        .and_then(|dir| handle::uuid(dir.as_fd()))
        .unwrap_or_default()
}

/// Writes the origin of a copy. Without it, which a symbolic link cannot have in the `user.*`
/// namespace, its number changes with the next mount, and nothing else.
pub(crate) fn write(namespace: Namespace, copy: At<'_>, record: &[u8]) -> bool {
    let name = namespace.name(Record::Origin);
    let written = xattr::set(copy, name, record, XattrFlags::empty());
    if let Err(errno) = written {
        log::debug!(
            "cannot write the origin of a copy; its inode number changes with the next mount: {errno}"
        );
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(kind: i32, words: &[u32]) -> Handle {
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Handle { kind, bytes }
    }

    #[test]
    fn the_number_is_found_in_handles_as_file_systems_make_them() {
        let ext4 = handle(1, &[10_043_440, 7]);
        let tmpfs = handle(1, &[99, 10_043_440, 0]);
        let xfs = handle(0x81, &[10_043_440, 0, 5]);
        for made in [ext4, tmpfs, xfs] {
            let layout = Layout::find(&made, 10_043_440).unwrap();
            assert_eq!(layout.read(&made.bytes), Some(10_043_440), "{made:?}");
        }
        assert_eq!(Layout::find(&handle(1, &[3, 4]), 10_043_440), None);
    }

    #[test]
    fn a_handle_that_does_not_lead_back_to_the_file_is_no_record() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("f"), "").unwrap();
        let layer = Layer::open_lower(&crate::LowerLayer::new(tmp.path()));
        let root = layer.unwrap().0.root;
        let Some(system) = System::probe(root.as_fd()) else {
            eprintln!("SKIPPED origin: {} has no handles", tmp.path().display());
            return;
        };
        let at = At::Name(root.as_fd(), b"f");
        let stat = crate::disk::calls::stat(at).unwrap();
        let origins = |systems| Origins { systems };
        let again = || System {
            device: system.device,
            uuid: system.uuid,
            layout: system.layout,
        };
        let record = origins(vec![again()]).record(at, &stat).unwrap();
        let object = InoMapper::default().object(system.device, stat.stx_ino);
        let ino_mapper = InoMapper::default();
        let found = origins(vec![again()]).object(&record, &ino_mapper);
        assert_eq!(found, Some(object));
        // As where only the root's handle looked as if it had the number in it.
        let mut elsewhere = again();
        elsewhere.layout.offset = 3;
        assert_eq!(origins(vec![elsewhere]).record(at, &stat), None);
        // As of two images of one file system.
        let mut other = again();
        other.device.minor ^= 1;
        assert_eq!(origins(vec![again(), other]).record(at, &stat), None);
    }

    /// The root of an ext4 file system has a generation of 0, its files have not.
    #[test]
    fn the_layout_follows_from_a_handle_without_a_generation() {
        let layout = Layout::find(&handle(1, &[2, 0]), 2).unwrap();
        assert_eq!(layout.read(&handle(1, &[77, 12345]).bytes), Some(77));
    }
}

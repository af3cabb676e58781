//! Devices and fifos.

use plyfs_format::override_stat::Kind as RecordKind;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::fault::Result;
use super::place::Place;
use super::policy::Meta;
use super::unpacker::Unpacker;
use crate::error::EntryFault;
use crate::tar::{Entry, Kind};

impl Unpacker {
    /// Makes a device or a fifo, or a regular file that stands for it.
    pub(super) fn special(&mut self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        let (file_type, kind, device) = match entry.kind {
            Kind::Char(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                (
                    FileType::CharacterDevice,
                    RecordKind::Char(major, minor),
                    device,
                )
            }
            Kind::Block(major, minor) => {
                let device = rustix::fs::makedev(major, minor);
                (
                    FileType::BlockDevice,
                    RecordKind::Block(major, minor),
                    device,
                )
            }
            _ => (FileType::Fifo, RecordKind::Fifo, 0),
        };
        let mut entry = entry.clone();
        // Set-id bits mean nothing here, and could be set only through a descriptor.
        entry.mode &= 0o1777;
        let meta = Meta::of(&entry);
        let is_fifo = file_type == FileType::Fifo;
        let fits = self
            .policy
            .record(&meta, self.policy.file_mode(meta.mode), None)
            .is_none();
        if self.is_override() && !(is_fifo && fits) {
            return self.stand_in(place, &entry, kind, b"");
        }
        let mode = Mode::from_raw_mode(meta.mode);
        let made = self.make(place, "create it", || {
            rustix::fs::mknodat(place.dir(), place.name(), file_type, mode, device)
        });
        match made {
            Ok(()) => self.finish_at(place, &entry),
            // The root of a user namespace makes no devices.
            Err(EntryFault::System {
                errno: Errno::PERM, ..
            }) if !is_fifo => self.stand_in(place, &entry, kind, b""),
            Err(fault) => Err(fault),
        }
    }
}

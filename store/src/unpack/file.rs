//! Regular files, and regular files that stand for something else.

use std::os::fd::{AsFd, OwnedFd};

use plyfs_format::override_stat::Kind as RecordKind;

use super::data::Data;
use super::fault::Result;
use super::place::Place;
use super::policy::{Meta, first_mode, set_mode, set_record};
use super::unpacker::Unpacker;
use super::xattr::is_acl;
use crate::error::EntryFault;
use crate::tar::{Entry, Input, Reader};

impl Unpacker {
    /// Makes a regular file and writes its data straight from the buffers of the stream.
    pub(super) fn file<I: Input>(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        reader: &mut Reader<I>,
    ) -> Result<()> {
        let meta = Meta::of(entry);
        let mode = self.policy.file_mode(meta.mode);
        let record = self.policy.record(&meta, mode, None);
        let attributes = record.is_some() || !entry.xattrs.is_empty();
        let made_with = first_mode(mode, attributes);
        let file = self.create(place, made_with)?;
        let mut data = Data::new(&file);
        reader.copy_data(|offset, bytes| data.write(offset, bytes))?;
        data.finish(entry.size)?;
        self.facts.data += entry.size;
        self.finish_file(&file, entry, &meta, (made_with, mode), record)
    }

    /// Makes a regular file that stands for what cannot be made, with a record that says for what.
    pub(super) fn stand_in(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        kind: RecordKind,
        content: &[u8],
    ) -> Result<()> {
        let meta = Meta::of(entry);
        let mode = (meta.mode & 0o777) | 0o600;
        let file = self.create(place, mode)?;
        write_all(&file, content)?;
        let record = self.policy.record(&meta, mode, Some(kind));
        self.finish_file(&file, entry, &meta, (mode, mode), record)
    }

    /// Applies everything but the data: the owner before what a change of owner would take away,
    /// the mode after what needs the file open to its owner.
    fn finish_file(
        &mut self,
        file: &OwnedFd,
        entry: &Entry,
        meta: &Meta,
        (made_with, mode): (u32, u32),
        record: Option<plyfs_format::override_stat::OverrideStat>,
    ) -> Result<()> {
        let fd = file.as_fd();
        self.policy.chown(fd, meta)?;
        self.set_xattrs(fd, &entry.xattrs)?;
        if let Some(record) = record {
            set_record(fd, &record)?;
            self.facts.overrides += 1;
        }
        let acl = entry.xattrs.iter().any(|(name, _)| is_acl(name));
        let current = if acl { u32::MAX } else { made_with };
        set_mode(fd, current, mode)?;
        rustix::fs::futimens(fd, &meta.times()).map_err(EntryFault::system("set its times"))
    }
}

/// Writes all of the bytes where the file is at.
fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes));
        let count = written.map_err(EntryFault::system("write it"))?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

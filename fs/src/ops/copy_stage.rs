//! Making the copy in the work directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::handle::index_name;
use plyfs_format::names::Record;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{OFlags, Statx, XattrFlags};

use crate::Overlay;
use crate::disk::calls::{self, stat_fd, times_of};
use crate::disk::copy_data::{Copied, copy_data};
use crate::error::Result;
use crate::layer::lower_dir::LowerFile;
use crate::layer::new_object::NewObject;
use crate::layer::object_id::ObjectId;
use crate::layer::upper::Upper;
use crate::layer::xattr_names::Naming;
use crate::layer::{origin, override_stat, stand_in};
use crate::ops::copy_source::Source;
use crate::ops::copy_xattrs::copy_xattrs;
use crate::types::{Extent, FileKind, Name, PERMISSIONS};

/// A copy that has all but a name.
struct Filled {
    fd: OwnedFd,
    /// What it was before it was given its owner and mode.
    disk: Statx,
    /// The handle of its source, if it keeps that.
    origin: Option<Vec<u8>>,
}

/// A copy in the work directory.
pub(super) struct Copy {
    pub(super) name: std::ffi::OsString,
    /// A descriptor of it.
    pub(super) fd: Arc<OwnedFd>,
    pub(super) object: ObjectId,
    /// Whether it keeps the handle of what it is a copy of.
    pub(super) has_origin: bool,
    /// Where its data is, if that was not copied.
    pub(super) data: Option<LowerFile>,
    /// Its name in the index, and how many names the file has, if they are to stay one.
    pub(super) indexed: Option<(Name, u32)>,
}

impl Overlay {
    /// Makes a complete and durable copy in the work directory.
    pub(super) fn stage_copy(
        &self,
        upper: &Upper,
        kind: FileKind,
        source: Source,
        extent: Extent,
    ) -> Result<Copy> {
        // The mode is given as it is to be; no mask of a caller applies.
        plyfs_sys::thread::set_umask(0)?;
        let target = match kind {
            FileKind::Symlink => Some(stand_in::read_link(At::Fd(source.fd.as_fd()))?),
            _ => None,
        };
        let wanted = NewObject {
            kind,
            mode: source.attr.mode,
            uid: source.attr.uid,
            gid: source.attr.gid,
            rdev: source.attr.rdev,
            target: target.as_deref().map(OsStr::from_bytes),
        };
        // Attributes are written to it before it has its own mode, which may keep its owner out.
        let staged = NewObject {
            mode: wanted.mode | if kind.is_dir() { 0o700 } else { 0o600 },
            ..wanted
        };
        let name = upper.work.temp_name();
        let made = self
            .fds
            .open(|| staged.make(upper.work.dir(), &name, upper.layer.records))?;
        let filled = self.fill(upper, &name, made, &wanted, &source, extent);
        if filled.is_err() {
            upper.work.discard(&name);
        }
        let Filled { fd, disk, origin } = filled?;
        let (links, is_linked) = (source.stat.stx_nlink, source.is_linked);
        let entry = |record: &Vec<u8>| Name::from(OsStr::new(&index_name(record)));
        let indexed = origin.as_ref().filter(|_| is_linked).map(entry);
        Ok(Copy {
            name,
            fd: Arc::new(fd),
            object: self.object_of(&disk),
            has_origin: origin.is_some(),
            indexed: indexed.map(|name| (name, links)),
            data: source.data.filter(|_| extent == Extent::None),
        })
    }

    /// Lets a copy keep the handle of its source, and returns it. Without an index one of several names
    /// of a file gets none: the copy is not what the other names show. Nor does a file on a mount inside the
    /// layer: a bind mount shows it at a second path, and that stays as it is.
    fn record_origin(&self, upper: &Upper, copy: At<'_>, source: &Source) -> Option<Vec<u8>> {
        let is_dir = source.attr.kind.is_dir();
        if source.is_mounted_inside && !is_dir {
            return None;
        }
        let has_links = !is_dir && source.stat.stx_nlink > 1;
        if has_links && !(source.is_linked && upper.index.is_some()) {
            return None;
        }
        let from = At::Fd(source.fd.as_fd());
        let record = self.origins.record(from, &source.stat)?;
        origin::write(upper.namespace, copy, &record).then_some(record)
    }

    /// Fills a staged object with all that its source shows. Each step comes after those that would undo it.
    fn fill(
        &self,
        upper: &Upper,
        name: &OsStr,
        made: Option<OwnedFd>,
        wanted: &NewObject<'_>,
        source: &Source,
        extent: Extent,
    ) -> Result<Filled> {
        let fd = match made {
            Some(fd) => fd,
            None => {
                let at = At::Name(upper.work.dir(), name.as_bytes());
                self.fds.open(|| calls::open(at, OFlags::PATH))?
            }
        };
        // First the data: a write takes set-id bits and capabilities from a file.
        let copied = if wanted.kind == FileKind::Regular {
            self.fill_data(upper, fd.as_fd(), source, extent)?
        } else {
            Copied::Nothing
        };
        let disk = stat_fd(fd.as_fd())?;
        let origin = self.fill_attributes(upper, fd.as_fd(), &disk, wanted, source)?;
        // Everything before this changed a time.
        calls::set_times(At::Fd(fd.as_fd()), &times_of(&source.attr))?;
        // Last, so that one fsync(2) makes all of it durable before the copy gets its name.
        if !self.volatile {
            upper.sync_copy(fd.as_fd(), copied)?;
        }
        Ok(Filled { fd, disk, origin })
    }

    /// Brings the data into a copy, or the size alone, with the mark of a metacopy.
    fn fill_data(
        &self,
        upper: &Upper,
        to: BorrowedFd<'_>,
        source: &Source,
        extent: Extent,
    ) -> Result<Copied> {
        let size = source.stat.stx_size;
        if extent == Extent::None {
            rustix::fs::ftruncate(to, size)?;
            let mark = upper.namespace.name(Record::Metacopy);
            xattr::set(At::Fd(to), mark, b"", XattrFlags::empty())?;
            return Ok(Copied::Nothing);
        }
        match source.data.as_ref().filter(|_| source.is_metacopy) {
            Some(data) => {
                let from = self.open_data(data)?;
                let from_stat = stat_fd(from.as_fd())?;
                copy_data((from.as_fd(), &from_stat), size, to, extent)
            }
            None => copy_data((source.fd.as_fd(), &source.stat), size, to, extent),
        }
    }

    /// Gives a copy owner, xattrs, flags and mode. Returns the handle of its source, if it keeps that.
    fn fill_attributes(
        &self,
        upper: &Upper,
        fd: BorrowedFd<'_>,
        disk: &Statx,
        wanted: &NewObject<'_>,
        source: &Source,
    ) -> Result<Option<Vec<u8>>> {
        let (at, records) = (At::Fd(fd), upper.layer.records);
        let by_record = records.rule(wanted.kind);
        let is_others = !by_record && (disk.stx_uid, disk.stx_gid) != (wanted.uid, wanted.gid);
        if is_others {
            // Before attributes and mode, which changing the owner would take from it.
            calls::chown(at, Some(wanted.uid), Some(wanted.gid))?;
        }
        let naming = Naming {
            records,
            marks: upper.layer.marks,
            namespace: upper.namespace,
        };
        let has_xattrs = copy_xattrs(source, at, naming)?;
        let origin = self.record_origin(upper, at, source);
        if matches!(wanted.kind, FileKind::Regular | FileKind::Directory) {
            let from = (source.fd.as_fd(), &source.stat);
            self.copy_flags(upper, from, fd, wanted.kind)?;
        }
        if wanted.kind != FileKind::Symlink {
            // After the owner and an ACL, both of which may have changed it; and after the xattrs, since the
            // mode may keep the owner out.
            let changed = is_others || has_xattrs;
            let now = if changed { stat_fd(fd)? } else { *disk };
            let mode = NewObject::disk_mode(wanted.kind, wanted.mode, records);
            if u32::from(now.stx_mode) & PERMISSIONS != mode {
                calls::chmod(at, mode)?;
            }
        }
        if by_record {
            // It says what the object on disk does not, and so comes after all that changes the object.
            override_stat::write_record(at, wanted.record(&stat_fd(fd)?, records), records)?;
        }
        Ok(origin)
    }
}

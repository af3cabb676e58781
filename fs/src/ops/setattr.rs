//! Changing attributes: owner, mode, size and times.

use std::sync::Arc;

use plyfs_sys::xattr::{self, At};
use rustix::fs::{Statx, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::Overlay;
use crate::config::override_stat_mode::OverrideStatMode;
use crate::disk::calls;
use crate::disk::fd_cache::Key;
use crate::disk::lent_modes::hold_modes;
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::layer::new_object::NewObject;
use crate::layer::override_stat;
use crate::overlay::locate::ObjectRef;
use crate::overlay::set_id::{may_keep_set_gid, without_set_id};
use crate::types::{
    Attr, Caller, DropSetId, Extent, FileKind, PERMISSIONS, S_ISGID, S_ISUID, S_IXGRP, SetAttr,
    SetTime,
};

impl Overlay {
    /// What stat(2) shows for a node.
    ///
    /// # Errors
    /// `STALE` if the id is not known, and those of statx(2).
    pub fn getattr(&self, id: u64) -> Result<Attr> {
        self.attr(&*self.node(id)?)
    }

    /// Changes attributes, copying the file up if need be, and returns what they are now.
    ///
    /// # Errors
    /// `PERM` for a protected file, and those of copying up, chown(2), chmod(2), truncate(2) and utimensat(2).
    /// Where several are changed and one fails, those before it stay changed: owner, mode, size, times.
    pub fn setattr(&self, caller: &Caller, id: u64, set: &SetAttr) -> Result<Attr> {
        let node = self.node(id)?;
        self.upper()?;
        self.check_may_set(&node, set)?;
        if let Some(attr) = self.has_already(&node, set)? {
            return Ok(attr);
        }
        let extent = set.size.map_or(Extent::None, Extent::Before);
        if let Some(why) = set.drop_set_id
            && !self.may_drop_set_id(caller, &node, why)?
        {
            if why == DropSetId::Chown || node.kind != FileKind::Regular {
                // Nothing changes, but it was a change.
                self.copy_up(&node, extent)?;
            }
            return self.attr(&node);
        }
        self.copy_up(&node, extent)?;
        let owner = set.uid.is_some() || set.gid.is_some();
        if owner || set.mode.is_some() || set.drop_set_id.is_some() {
            self.set_owner_and_mode(caller, &node, set)?;
        }
        if let Some(size) = set.size {
            self.truncate(caller, &node, size)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let mut times = node.times.lock();
            match self.fds.get(Key::File(node.id)) {
                // Nothing in a lower layer is ever opened for writing.
                Some(handle) if handle.writable => {
                    rustix::fs::futimens(&handle.fd, &timestamps(set))?;
                }
                _ => calls::set_times(self.locate(&node)?.at(), &timestamps(set))?,
            }
            *times = None;
        }
        let attr = self.attr(&node)?;
        self.told_mtime(&node, attr.mtime);
        Ok(attr)
    }

    /// As [`setattr`](Self::setattr), if nothing is to be done for it. `None` if something is.
    ///
    /// # Errors
    /// As [`getattr`](Self::getattr).
    pub fn setattr_of_nothing(&self, id: u64, set: &SetAttr) -> Result<Option<Attr>> {
        let node = self.node(id)?;
        self.check_may_set(&node, set)?;
        self.has_already(&node, set)
    }

    /// Whether set-id bits are to go because of a change of nothing. A stranger's chown(2) takes none, and
    /// is refused if there are any.
    fn may_drop_set_id(&self, caller: &Caller, node: &Node, why: DropSetId) -> Result<bool> {
        let is_regular = node.kind == FileKind::Regular;
        if why == DropSetId::UnlessRegular && is_regular {
            return Ok(false);
        }
        let attr = self.attr(node)?;
        if caller.uid == 0 || caller.uid == attr.uid {
            return Ok(true);
        }
        let left = without_set_id(attr.mode, || may_keep_set_gid(caller, attr.gid));
        let written = why == DropSetId::Unsaid && is_regular;
        if left == attr.mode || node.kind.is_dir() || written {
            Ok(false)
        } else {
            Err(Errno::PERM)
        }
    }

    fn set_owner_and_mode(&self, caller: &Caller, node: &Node, set: &SetAttr) -> Result<()> {
        let object = self.locate(node)?;
        let _modes = hold_modes();
        if object.records.rule(node.kind) {
            return self.set_record(caller, node, &object, set);
        }
        if set.uid.is_some() || set.gid.is_some() || set.drop_set_id.is_some() {
            let uid = set.uid.and_then(|uid| self.owners.uids.stored(uid));
            let gid = set.gid.and_then(|gid| self.owners.gids.stored(gid));
            let left = self.set_gid_left_by_chown(caller, node, &object, set)?;
            // Takes set-id bits and capabilities from a regular file, as it should.
            calls::chown(object.at(), uid, gid)?;
            if let Some(mode) = left {
                calls::chmod(object.at(), mode)?;
            }
        }
        match set.mode {
            Some(_) if node.kind == FileKind::Symlink => Err(Errno::OPNOTSUPP),
            Some(mode) => calls::chmod(object.at(), mode),
            None => Ok(()),
        }
    }

    /// The mode that a file is to have after a chown(2) which the file system below, asked by us, would
    /// leave set-gid, though the caller is not in the group. `None` if there is nothing to see to.
    fn set_gid_left_by_chown(
        &self,
        caller: &Caller,
        node: &Node,
        object: &ObjectRef<'_>,
        set: &SetAttr,
    ) -> Result<Option<u32>> {
        if caller.uid == 0 || node.kind.is_dir() || set.mode.is_some() {
            return Ok(None);
        }
        let disk = calls::stat(object.at())?;
        let attr = override_stat::recorded_attr_of(object.at(), &disk, object.records)?;
        if attr.mode & (S_ISGID | S_IXGRP) != S_ISGID {
            return Ok(None);
        }
        let gid = self.owners.gids.shown(attr.gid);
        Ok((!may_keep_set_gid(caller, gid)).then_some(attr.mode & !(S_ISUID | S_ISGID)))
    }

    /// Changes what the record of an object says.
    fn set_record(
        &self,
        caller: &Caller,
        node: &Node,
        object: &ObjectRef<'_>,
        set: &SetAttr,
    ) -> Result<()> {
        let at = object.at();
        let disk = calls::stat(at)?;
        let mut shown = override_stat::recorded_attr_of(at, &disk, object.records)?;
        let chown = set.uid.is_some() || set.gid.is_some() || set.drop_set_id.is_some();
        if chown && !node.kind.is_dir() {
            let gid = shown.gid;
            shown.mode = without_set_id(shown.mode, || may_keep_set_gid(caller, gid));
            self.drop_capability(node)?;
        }
        let wanted = NewObject {
            kind: shown.kind,
            mode: set.mode.unwrap_or(shown.mode),
            uid: set.uid.unwrap_or(shown.uid),
            gid: set.gid.unwrap_or(shown.gid),
            rdev: shown.rdev,
            target: None,
        };
        change_record(at, &disk, &wanted, object.records)
    }

    /// Sets the size of a regular file.
    fn truncate(&self, caller: &Caller, node: &Arc<Node>, size: u64) -> Result<()> {
        if node.kind != FileKind::Regular {
            return Err(decided(Errno::INVAL));
        }
        let file = self.open_for_writing(node)?;
        rustix::fs::ftruncate(&file, size)?;
        // The protocol's mark for this is not carried to us, so that who asks decides.
        self.after_write(node, caller.unprivileged());
        Ok(())
    }

    /// Takes from a file that was written what its writer could otherwise make use of: set-uid and
    /// set-gid if it was a caller without privileges, and capabilities in any case.
    ///
    /// What was written stays written if that fails.
    pub(super) fn after_write(&self, node: &Node, unprivileged: Option<&Caller>) {
        let mut dropped = self.drop_capability(node);
        if let Some(caller) = unprivileged {
            dropped = dropped.and_then(|()| self.drop_set_id(caller, node));
        }
        if let Err(errno) = dropped {
            log::warn!("privileges of a file that was written stay: {errno}");
        }
    }

    fn drop_set_id(&self, caller: &Caller, node: &Node) -> Result<()> {
        let attr = self.attr(node)?;
        let mode = without_set_id(attr.mode, || may_keep_set_gid(caller, attr.gid));
        if mode == attr.mode {
            return Ok(());
        }
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.set_owner_and_mode(caller, node, &set)?;
        self.changed_unasked(node.id);
        Ok(())
    }

    /// Takes the capabilities from a file whose attributes are in records. From others the file system
    /// below takes them at every write.
    fn drop_capability(&self, node: &Node) -> Result<()> {
        let records = self.upper()?.layer.records;
        if !records.keep_owners() || node.capability.get() == Some(false) {
            return Ok(());
        }
        let name = c"user.containers.override_security.capability";
        match xattr::remove(self.locate(node)?.at(), name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
        node.capability.set(false);
        Ok(())
    }
}

/// Gives an object on disk the permissions it needs there, and a record for the rest.
fn change_record(
    at: At<'_>,
    disk: &Statx,
    wanted: &NewObject<'_>,
    records: OverrideStatMode,
) -> Result<()> {
    let disk_kind =
        FileKind::from_mode(u32::from(disk.stx_mode)).ok_or_else(|| decided(Errno::IO))?;
    if !matches!(disk_kind, FileKind::Regular | FileKind::Directory) {
        // A link, fifo or socket on disk carries no record: it has no other owner than its own.
        if records.owner_on_disk(disk) != (wanted.uid, wanted.gid) {
            return Err(Errno::PERM);
        }
        return match disk_kind {
            FileKind::Symlink => Ok(()),
            _ => calls::chmod(at, wanted.mode),
        };
    }
    let mode = NewObject::disk_mode(disk_kind, wanted.mode, records);
    if u32::from(disk.stx_mode) & PERMISSIONS != mode {
        calls::chmod(at, mode)?;
    }
    override_stat::write_record(at, wanted.record(&calls::stat(at)?, records), records)
}

fn timestamps(set: &SetAttr) -> Timestamps {
    let timespec = |time: Option<SetTime>| match time {
        Some(SetTime::At(time)) => Timespec {
            tv_sec: time.secs,
            tv_nsec: time.nanos.into(),
        },
        Some(SetTime::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
    };
    Timestamps {
        last_access: timespec(set.atime),
        last_modification: timespec(set.mtime),
    }
}

//! Changes of attributes and names: what is answered at once, and what another thread has to do.

use std::ffi::OsStr;

use fuser::{INodeNo, ReplyAttr, ReplyEmpty, ReplyIoctl, TimeOrNow};
use plyfs_fs::types::{Caller, DropSetId, SetAttr};
use plyfs_fs::{Change, Errno, MayBlock, Overlay, Result};
use rustix::fs::RenameFlags;

use super::adapter::Adapter;
use super::convert::set_time;
use super::ioctl::Command;
use super::reply::Pending;

/// What SETATTR sets.
pub(crate) fn requested_change(
    mode: Option<u32>,
    (uid, gid): (Option<u32>, Option<u32>),
    size: Option<u64>,
    (atime, mtime): (Option<TimeOrNow>, Option<TimeOrNow>),
) -> SetAttr {
    SetAttr {
        mode: mode.map(|mode| mode & 0o7777),
        uid,
        gid,
        size,
        atime: atime.map(set_time),
        mtime: mtime.map(set_time),
        ..SetAttr::default()
    }
}

impl Adapter {
    /// A change with what the kernel does not say: why it sends one of nothing, and whether it kept the times.
    pub(crate) fn with_reason(&self, set: SetAttr, has_ctime: bool, has_handle: bool) -> SetAttr {
        let writeback = self.options.writeback;
        SetAttr {
            // So the kernel sends a chown(2) that changes nothing, with the time of it if it keeps times
            // itself, and what it does before a write.
            drop_set_id: (set == SetAttr::default()).then_some(match has_ctime {
                true => DropSetId::Chown,
                false if writeback => DropSetId::UnlessRegular,
                false => DropSetId::Unsaid,
            }),
            // By a descriptor, the kernel sends sizes and the times it kept (`fuse_flush_times`).
            kept_by_kernel: writeback && has_handle && set.size.is_none(),
            ..set
        }
    }

    pub(crate) fn set_attributes(
        &self,
        caller: &Caller,
        ino: INodeNo,
        set: SetAttr,
        pending: Pending<ReplyAttr>,
    ) {
        let (caller, timeout) = (*caller, self.options.timeout);
        let slow = self.is_slow(ino, set.size.map_or(Change::Attributes, Change::Size));
        if slow && let Ok(Some(now)) = self.overlay.setattr_of_nothing(ino.0, &set) {
            return pending.attr(timeout, Ok(now));
        }
        self.schedule.change(
            caller.pid,
            slow,
            move |overlay| overlay.setattr(&caller, ino.0, &set),
            move |now| pending.attr(timeout, now),
        );
    }

    pub(crate) fn check_xattrs(&self) -> Result<()> {
        self.options.xattrs.then_some(()).ok_or(Errno::OPNOTSUPP)
    }

    pub(crate) fn change_xattr(
        &self,
        caller: u32,
        ino: INodeNo,
        pending: Pending<ReplyEmpty>,
        change: impl Fn(&Overlay) -> Result<()> + Send + 'static,
    ) {
        if let Err(error) = self.check_xattrs() {
            return pending.fail(error);
        }
        let slow = self.is_slow(ino, Change::Attributes);
        let answer = move |result| pending.done(result);
        self.schedule.change(caller, slow, change, answer);
    }

    pub(crate) fn move_name(
        &self,
        caller: u32,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        flags: RenameFlags,
        pending: Pending<ReplyEmpty>,
    ) {
        let now = || self.overlay.rename(from, to, flags, MayBlock::No);
        match self.schedule.now(false, now) {
            None | Some(Err(Errno::AGAIN)) => {
                let (parent, name) = (from.0, from.1.to_owned());
                let (newparent, newname) = (to.0, to.1.to_owned());
                let change = move |overlay: &Overlay| {
                    let (from, to) = ((parent, &*name), (newparent, &*newname));
                    overlay.rename(from, to, flags, MayBlock::Yes)
                };
                let answer = move |renamed| pending.done(renamed);
                self.schedule.later(caller, change, answer);
            }
            Some(renamed) => pending.done(renamed),
        }
    }

    /// Serves ioctl(2).
    pub(crate) fn control(
        &self,
        caller: u32,
        ino: INodeNo,
        (number, input): (u32, &[u8]),
        pending: Pending<ReplyIoctl>,
    ) {
        let Some(command) = Command::parse(number, input) else {
            return pending.fail(Errno::NOTTY);
        };
        if command.changes() && !self.flags_are_checked {
            return pending.fail(Errno::OPNOTSUPP);
        }
        let run = move |overlay: &Overlay| command.run(overlay, ino.0);
        let answer = move |result| pending.ioctl(result);
        match command.changes() {
            // What was written before a file is protected is not to be refused.
            true => self.schedule.after_flush(ino.0, caller, run, answer),
            false => self.schedule.later(caller, run, answer),
        }
    }
}

//! Opening, reading and writing: what is answered at once, and what another thread has to do.

use std::cell::RefCell;

use fuser::{
    FopenFlags, INodeNo, OpenAccMode, OpenFlags, ReplyData, ReplyEmpty, ReplyLseek, ReplyOpen,
    ReplyWrite, WriteFlags,
};
use plyfs_fs::types::{Caller, Seek, WriteMode};
use plyfs_fs::{Change, Errno, Overlay, Result};
use rustix::fs::OFlags;

use super::adapter::Adapter;
use super::passthrough::Passthrough;
use super::reply::Pending;
use super::suppressed::SuppressedRequest;

thread_local! {
    /// Where a thread reads file data into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Part of a file that is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'d> {
    pub(crate) ino: INodeNo,
    pub(crate) offset: u64,
    pub(crate) data: &'d [u8],
    pub(crate) mode: WriteMode,
}

/// A range of a file that is copied into another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    /// Node and offset.
    pub(crate) from: (u64, u64),
    pub(crate) to: (u64, u64),
    pub(crate) length: usize,
}

impl Adapter {
    pub(crate) fn open_file(
        &self,
        caller: u32,
        ino: INodeNo,
        flags: OpenFlags,
        pending: Pending<ReplyOpen>,
    ) {
        if let Some(passthrough) = &self.passthrough {
            return self.open_passthrough(passthrough, ino, flags, pending);
        }
        if !self.sends(SuppressedRequest::Open) {
            // Asked once: the kernel opens by itself from now on.
            return pending.fail(Errno::NOSYS);
        }
        if may_change(flags)
            && let Err(error) = self.overlay.check_may_open(ino.0, appends(flags))
        {
            return pending.fail(error);
        }
        let keep = self.keep_cache();
        // What is open is to stay the same file where a layer may get another of its name.
        if !self.options.copy_up_at_open && !self.options.allow_for_changes() {
            return pending.opened(Ok(keep));
        }
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let prepare = move |overlay: &Overlay| match writes {
            true => overlay.prepare_to_write(ino.0),
            false => overlay.prepare_to_read(ino.0),
        };
        let slow = writes && self.is_slow(ino, Change::Data);
        self.schedule.change(caller, slow, prepare, move |opened| {
            pending.opened(opened.map(|()| keep));
        });
    }

    fn open_passthrough(
        &self,
        passthrough: &Passthrough,
        ino: INodeNo,
        flags: OpenFlags,
        pending: Pending<ReplyOpen>,
    ) {
        if may_change(flags) {
            // The kernel would open the file in the layer as it was asked to.
            return pending.fail(Errno::ROFS);
        }
        pending.opened_by(self.overlay.data_of(ino.0), |reply, file| {
            passthrough.open(ino.0, &file, reply);
        });
    }

    pub(crate) fn open_directory(&self, pending: Pending<ReplyOpen>) {
        let opened = match self.sends(SuppressedRequest::Opendir) {
            true => Ok(FopenFlags::empty()),
            false => Err(Errno::NOSYS),
        };
        pending.opened(opened);
    }

    pub(crate) fn read_data(
        &self,
        ino: INodeNo,
        offset: u64,
        size: usize,
        pending: Pending<ReplyData>,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.overlay.read_now(ino.0, offset, &mut buffer[..size]) {
                // From a disk: that is not to keep others waiting.
                Err(Errno::AGAIN) => self.schedule.at_disk(move |overlay| {
                    let mut buffer = vec![0; size];
                    let read = overlay.read(ino.0, offset, &mut buffer);
                    pending.data(read.map(|length| &buffer[..length]));
                }),
                read => pending.data(read.map(|length| &buffer[..length])),
            }
        });
    }

    pub(crate) fn write_data(&self, caller: u32, write: Write<'_>, pending: Pending<ReplyWrite>) {
        let Write {
            ino,
            offset,
            data,
            mode,
        } = write;
        let (notifier, disks) = (self.notifier.clone(), self.schedule.disks());
        let length = data.len();
        let answer = move |written: Result<usize>| {
            let refused = mode.gathered && written.is_err();
            pending.written(written);
            if refused {
                // It waits for pages, whose requests this thread may have to read, or to write.
                disks.run(move || notifier.forget_data(ino.0, offset, length));
            }
        };
        let slow = self.is_slow(ino, Change::Data);
        let now = || self.overlay.write(ino.0, offset, data, mode);
        match self.schedule.now(slow, now) {
            Some(written) => answer(written),
            None => {
                let data = data.to_vec();
                let change = move |overlay: &Overlay| overlay.write(ino.0, offset, &data, mode);
                self.schedule.later(caller, change, answer);
            }
        }
    }

    pub(crate) fn sync(&self, ino: INodeNo, data_only: bool, pending: Pending<ReplyEmpty>) {
        if self.overlay.never_syncs() && !self.sends(SuppressedRequest::Fsync) {
            // Asked once: the kernel does not ask again, but still sends what it has gathered.
            return pending.fail(Errno::NOSYS);
        }
        if self.overlay.syncs_at_once(ino.0) {
            return pending.done(self.overlay.fsync(ino.0, data_only));
        }
        let sync = move |overlay: &Overlay| pending.done(overlay.fsync(ino.0, data_only));
        self.schedule.at_disk(sync);
    }

    pub(crate) fn seek(
        &self,
        ino: INodeNo,
        offset: i64,
        whence: i32,
        pending: Pending<ReplyLseek>,
    ) {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            // The kernel answers the others by itself.
            _ => return pending.fail(Errno::INVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            // As lseek(2) says of what is before the file as of what is behind it.
            return pending.fail(Errno::NXIO);
        };
        let gathers = self.options.writeback;
        let notifier = self.notifier.clone();
        self.schedule.at_disk(move |overlay| {
            if gathers {
                // What a program has written need not have arrived here, and is no hole.
                notifier.flush(ino.0);
            }
            pending.offset(overlay.seek(ino.0, offset, what));
        });
    }

    pub(crate) fn copy_range(&self, caller: Caller, copy: Copy, pending: Pending<ReplyWrite>) {
        let Copy { from, to, length } = copy;
        let slow = self.is_slow(INodeNo(to.0), Change::Data);
        let now = || self.overlay.copy_now(&caller, from, to, length);
        match self.schedule.now(slow, now) {
            None | Some(Err(Errno::AGAIN)) => self.schedule.later(
                caller.pid,
                move |overlay| overlay.copy_range(&caller, from, to, length),
                move |copied| pending.written(copied),
            ),
            Some(copied) => pending.written(copied),
        }
    }
}

/// How data is written, by whom if that matters.
pub(crate) fn write_mode(write_flags: WriteFlags, flags: OpenFlags, caller: Caller) -> WriteMode {
    let kills = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
    WriteMode {
        unprivileged: kills.then_some(caller),
        gathered: write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
        appends: appends(flags),
    }
}

fn may_change(flags: OpenFlags) -> bool {
    let truncates = OFlags::from_bits_retain(flags.0.cast_unsigned()).contains(OFlags::TRUNC);
    truncates || flags.acc_mode() != OpenAccMode::O_RDONLY
}

fn appends(flags: OpenFlags) -> bool {
    OFlags::from_bits_retain(flags.0.cast_unsigned()).contains(OFlags::APPEND)
}

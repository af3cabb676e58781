//! One method a request: what it asks for, in the overlay's words. It decides nothing else.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use plyfs_fs::types::Device;
use plyfs_fs::{Change, Errno, Overlay};
use rustix::fs::XattrFlags;

use super::adapter::Adapter;
use super::attributes::requested_change;
use super::capabilities;
use super::convert::{caller, decode};
use super::data::{Copy, Write, write_mode};
use super::latency::burst::Work;
use super::reply::Call;
use super::suppressed::SuppressedRequest;

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.learn_version(config.kernel_abi());
        capabilities::negotiate(&self.options, config)
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let pending = self.accept(request, Call::named("lookup", parent, name), reply);
        let found = self.overlay.lookup(parent.0, name);
        if found.as_ref().is_ok_and(|found| !found.attr.kind.is_dir()) {
            self.listers.looks(request.pid());
        }
        pending.entry_or_absent(self.options.timeout, found);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.forget_lookups(ino, nlookup);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let pending = self.accept(request, Call::on("getattr", ino), reply);
        pending.attr(self.options.timeout, self.overlay.getattr(ino.0));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let pending = self.accept(request, Call::on("setattr", ino), reply);
        let times = (atime, mtime);
        let set = requested_change(mode, (uid, gid), size, times);
        let set = self.with_reason(set, ctime.is_some(), fh.is_some());
        self.set_attributes(&caller(request, 0), ino, set, pending);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let pending = self.accept(request, Call::on("readlink", ino), reply);
        pending.data(self.overlay.readlink(ino.0));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let pending = self.accept(request, Call::named("mknod", parent, name), reply);
        let (caller, name) = (caller(request, umask), name.to_owned());
        self.make(caller.pid, false, pending, move |overlay| {
            overlay.mknod(&caller, parent.0, &name, mode, decode(rdev))
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let pending = self.accept(request, Call::named("mkdir", parent, name), reply);
        let (caller, name) = (caller(request, umask), name.to_owned());
        self.make(caller.pid, false, pending, move |overlay| {
            overlay.mkdir(&caller, parent.0, &name, mode)
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let pending = self.accept(request, Call::named("symlink", parent, link_name), reply);
        let caller = caller(request, 0);
        let (name, target) = (link_name.to_owned(), target.as_os_str().to_owned());
        self.make(caller.pid, false, pending, move |overlay| {
            overlay.symlink(&caller, parent.0, &name, &target)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let pending = self.accept(request, Call::named("unlink", parent, name), reply);
        // A whiteout takes space.
        let name = name.to_owned();
        let change = move |overlay: &Overlay| overlay.unlink(parent.0, &name);
        let answer = move |result| pending.done(result);
        self.schedule.change(request.pid(), false, change, answer);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let pending = self.accept(request, Call::named("rmdir", parent, name), reply);
        let name = name.to_owned();
        let change = move |overlay: &Overlay| overlay.rmdir(parent.0, &name);
        let answer = move |result| pending.done(result);
        self.schedule.change(request.pid(), false, change, answer);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::named("rename", parent, name), reply);
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        self.move_name(request.pid(), from, to, flags, pending);
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let pending = self.accept(request, Call::named("link", newparent, newname), reply);
        let newname = newname.to_owned();
        let slow = self.is_slow(ino, Change::Attributes);
        self.make(request.pid(), slow, pending, move |overlay| {
            overlay.link(ino.0, newparent.0, &newname)
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let pending = self.accept(request, Call::on("open", ino), reply);
        self.open_file(request.pid(), ino, flags, pending);
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::on("release", ino), reply);
        if let Some(passthrough) = &self.passthrough {
            passthrough.release(ino.0);
        }
        pending.done(Ok(()));
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.open_directory(self.accept(request, Call::on("opendir", ino), reply));
    }

    fn releasedir(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::on("releasedir", ino), reply);
        pending.done(Ok(()));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let pending = self.accept(request, Call::named("create", parent, name), reply);
        if !self.sends(SuppressedRequest::Create) {
            // Asked once: the kernel makes files with MKNOD from now on.
            return pending.fail(Errno::NOSYS);
        }
        let (caller, name) = (caller(request, umask), name.to_owned());
        let timeout = self.options.timeout;
        let make = move |overlay: &Overlay| {
            overlay.mknod(&caller, parent.0, &name, mode, Device::default())
        };
        let answer = move |made| pending.created(timeout, made);
        self.schedule.change(caller.pid, false, make, answer);
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::on("flush", ino), reply);
        // Nothing is held back here that closing would have to write.
        let enabled = self.sends(SuppressedRequest::Flush);
        pending.done(enabled.then_some(()).ok_or(Errno::NOSYS));
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        let call = Call::on("read", ino).with(Work::Data(size));
        self.read_data(ino, offset, size, self.accept(request, call, reply));
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let call = Call::on("write", ino).with(Work::Data(data.len()));
        let pending = self.accept(request, call, reply);
        let write = Write {
            ino,
            offset,
            data,
            mode: write_mode(write_flags, flags, caller(request, 0)),
        };
        self.write_data(request.pid(), write, pending);
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::on("fsync", ino), reply);
        self.sync(ino, datasync, pending);
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::on("fsyncdir", ino), reply);
        self.sync(ino, datasync, pending);
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let call = Call::on("readdir", ino).with(Work::Long);
        self.list(ino, offset, self.accept(request, call, reply));
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let call = Call::on("readdirplus", ino).with(Work::Long);
        let pending = self.accept(request, call, reply);
        self.list_plus(request.pid(), ino, offset, pending);
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let pending = self.accept(request, Call::on("statfs", ino), reply);
        pending.statfs(self.overlay.statfs());
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::named("setxattr", ino, name), reply);
        let caller = caller(request, 0);
        let flags = XattrFlags::from_bits_retain(flags.unsigned_abs());
        let (name, value) = (name.to_owned(), value.to_vec());
        self.change_xattr(caller.pid, ino, pending, move |overlay| {
            overlay.setxattr(&caller, ino.0, &name, &value, flags)
        });
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let pending = self.accept(request, Call::named("getxattr", ino, name), reply);
        let value = self
            .check_xattrs()
            .and_then(|()| self.overlay.getxattr(ino.0, name));
        pending.value(size, value);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let pending = self.accept(request, Call::on("listxattr", ino), reply);
        let caller = caller(request, 0);
        let list = |()| self.overlay.listxattr(&caller, ino.0);
        pending.value(size, self.check_xattrs().and_then(list));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let pending = self.accept(request, Call::named("removexattr", ino, name), reply);
        let (caller, name) = (caller(request, 0), name.to_owned());
        self.change_xattr(caller.pid, ino, pending, move |overlay| {
            overlay.removexattr(&caller, ino.0, &name)
        });
    }

    fn ioctl(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        command: u32,
        input: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        let pending = self.accept(request, Call::on("ioctl", ino), reply);
        self.control(request.pid(), ino, (command, input), pending);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let pending = self.accept(request, Call::on("fallocate", ino), reply);
        let (caller, mode) = (caller(request, 0), mode.unsigned_abs());
        self.schedule.later(
            caller.pid,
            move |overlay| overlay.fallocate(&caller, ino.0, mode, offset, length),
            move |result| pending.done(result),
        );
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let pending = self.accept(request, Call::on("lseek", ino), reply);
        self.seek(ino, offset, whence, pending);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copy = Copy {
            from: (ino_in.0, offset_in),
            to: (ino_out.0, offset_out),
            // The answer has 32 bits.
            length: len.min(1 << 30) as usize,
        };
        let call = Call::on("copy_file_range", ino_out).with(Work::Data(copy.length));
        let pending = self.accept(request, call, reply);
        self.copy_range(caller(request, 0), copy, pending);
    }
}

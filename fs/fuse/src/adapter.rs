//! One method a request: arguments in, a call of the overlay, the answer out.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, Version,
    WriteFlags,
};
use rustix::fs::{OFlags, XattrFlags};

use super::Options;
use super::answer::{
    answer, answer_attr, answer_created, answer_entry, answer_ioctl, answer_written, answer_xattr,
    is_dots, listed_entry,
};
use super::bursts::{Bursts, Long};
use super::convert::{absent, caller, decode, errno, file_type, set_time};
use super::ioctl::Command;
use super::notifier::SharedNotifier;
use super::passthrough::Passthrough;
use super::pool::Pool;
use super::readers::{Given, Readers};
use super::saved::Saved;
use plyfs_fs::Patience;
use plyfs_fs::attr::{Device, DropSetId, SetAttr};
use plyfs_fs::file::{Seek, WriteMode};
use plyfs_fs::interrupt;
use plyfs_fs::{Change, Entry, Overlay, Room, Wants};
use plyfs_fs::{Errno, Result};

/// After how many forgotten nodes memory is given back to the system.
const GIVE_BACK_AFTER: u64 = 16 * 1024;
/// How many threads wait for disks.
const POOL_THREADS: usize = 4;
/// The largest write the kernel is to send at once, in bytes. It has a limit of its own.
const MAX_WRITE: u32 = 1 << 20;

/// The overlay as the FUSE library wants a file system to be.
#[derive(Debug)]
pub(crate) struct Adapter {
    overlay: Arc<Overlay>,
    /// For what copies data.
    copying: Pool,
    /// For what waits for a disk. It is not to wait for copies besides.
    syncing: Arc<Pool>,
    options: Options,
    notifier: SharedNotifier,
    /// How often the kernel has forgotten something.
    forgotten: AtomicU64,
    bursts: Option<Bursts>,
    readers: Readers,
    passthrough: Option<Passthrough>,
    /// Whether the kernel checks who may change the flags of a file (Linux 5.13). Older ones pass ioctl(2) on as it is.
    flags_are_checked: bool,
}

/// The first version of the protocol that only kernels have which check that (Linux 5.14).
const FLAGS_ARE_CHECKED: Version = Version(7, 34);

thread_local! {
    /// Where a thread reads file data into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Adapter {
    pub(crate) fn new(overlay: Arc<Overlay>, options: Options, bursts: Option<Bursts>) -> Self {
        let mut sent = options.sent;
        if options.copy_up_at_open {
            sent.add(Saved::Open);
        }
        if options.allow_for_changes() {
            // The kernel drops a file's pages when it is opened, and reads each listing and link from us.
            for request in [Saved::Open, Saved::Opendir, Saved::Readlink] {
                sent.add(request);
            }
        }
        let options = Options {
            // The kernel does one or the other.
            writeback: options.writeback && !options.passthrough,
            sent,
            ..options
        };
        Self {
            passthrough: options.passthrough.then(Passthrough::default),
            overlay,
            copying: Pool::new("copy", POOL_THREADS),
            syncing: Arc::new(Pool::new("sync", POOL_THREADS)),
            options,
            notifier: SharedNotifier::default(),
            forgotten: AtomicU64::new(0),
            bursts,
            readers: Readers::default(),
            flags_are_checked: false,
        }
    }

    /// A request came that a client waits for, and that is mostly answered at once.
    fn asked(&self, request: &Request) {
        self.asked_to_move(request, 0);
    }

    /// The same of one that moves so many bytes of data.
    fn asked_to_move(&self, request: &Request, bytes: usize) {
        if let Some(bursts) = &self.bursts {
            bursts.request(request.pid(), bytes);
        }
    }

    /// A request came that takes a while to answer, until what is returned is dropped.
    #[must_use]
    fn asked_for_much(&self, request: &Request) -> Option<Long<'_>> {
        self.asked(request);
        self.bursts.as_ref().map(Bursts::serve_long)
    }

    pub(crate) fn notifier(&self) -> SharedNotifier {
        self.notifier.clone()
    }

    /// Makes a change and answers with what came of it: here, or in the pool if it may take long. A change
    /// that finds no room is made again when there may be some, for which this thread is needed to read
    /// what the kernel forgets.
    fn change<T>(
        &self,
        request: &Request,
        slow: bool,
        change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        match self.change_here(slow, || change(&self.overlay)) {
            Some(result) => answer(result),
            None => self.change_in_pool(request, change, answer),
        }
    }

    /// Makes a change here, if it is not slow. `None` if it is to be made in the pool: it is slow, or there may
    /// be room for it soon.
    fn change_here<T>(&self, slow: bool, change: impl FnOnce() -> Result<T>) -> Option<Result<T>> {
        let result = (!slow).then(change)?;
        let error = result.as_ref().err();
        let again = error.is_some_and(|error| self.overlay.may_get_room(*error));
        (!again).then_some(result)
    }

    /// Makes a change in the pool, which is given up if the caller is killed before it is made.
    fn change_in_pool<T>(
        &self,
        request: &Request,
        change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.change_in(&self.copying, request, change, answer);
    }

    fn change_in<T>(
        &self,
        pool: &Pool,
        request: &Request,
        change: impl Fn(&Overlay) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let (overlay, caller) = (self.overlay.clone(), request.pid());
        pool.run(move || answer(interrupt::serving(caller, || overlay.with_room(change))));
    }

    /// Makes a change that is answered with what was made.
    fn make(
        &self,
        request: &Request,
        slow: bool,
        reply: ReplyEntry,
        change: impl Fn(&Overlay) -> Result<Entry> + Send + 'static,
    ) {
        let timeout = self.options.timeout;
        self.change(request, slow, change, move |made| {
            answer_entry(reply, timeout, made)
        });
    }

    /// How a file is opened: whether the kernel may show what it has read before.
    fn keep_cache(&self) -> FopenFlags {
        match self.options.allow_for_changes() {
            true => FopenFlags::empty(),
            false => FopenFlags::FOPEN_KEEP_CACHE,
        }
    }

    fn sends(&self, request: Saved) -> bool {
        self.options.sent.has(request)
    }

    /// Whether a change of this node waits for its data to be copied.
    fn is_slow(&self, ino: INodeNo, change: Change) -> bool {
        self.overlay.is_slow_to_change(ino.0, change)
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.flags_are_checked = config.kernel_abi() >= FLAGS_ARE_CHECKED;
        let mut wanted = vec![
            // The file system below applies the mask or the default ACL, whichever holds.
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // File handles of a mount (name_to_handle_at(2)) would be numbers that it forgets.
            InitFlags::FUSE_NO_EXPORT_SUPPORT,
            match self.options.allow_for_changes() {
                true => InitFlags::FUSE_AUTO_INVAL_DATA,
                // Data changes only through this mount, so there is nothing to guess from times.
                false => InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            },
        ];
        for (request, flags) in [
            (Saved::Readlink, InitFlags::FUSE_CACHE_SYMLINKS),
            (Saved::Opendir, InitFlags::FUSE_NO_OPENDIR_SUPPORT),
            (
                Saved::Lookup,
                InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO,
            ),
            // Without it every write asks for capabilities first.
            (Saved::Killpriv, InitFlags::FUSE_HANDLE_KILLPRIV_V2),
        ] {
            if !self.sends(request) {
                wanted.push(flags);
            }
        }
        if self.passthrough.is_some() {
            config
                .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
                .map_err(|_| no_passthrough())?;
            // Or the daemon would not learn of it, and the kernel opens the layer's file with it.
            config
                .add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC)
                .map_err(|_| no_passthrough())?;
            // Of what lies on no overlay, and no other mount with passthrough; the rest goes through the
            // daemon.
            config
                .set_max_stack_depth(1)
                .map_err(|_| no_passthrough())?;
        } else if !self.sends(Saved::Open) {
            wanted.push(InitFlags::FUSE_NO_OPEN_SUPPORT);
        }
        if self.options.acl {
            wanted.push(InitFlags::FUSE_POSIX_ACL);
        }
        if self.options.writeback {
            wanted.push(InitFlags::FUSE_WRITEBACK_CACHE);
        }
        for flag in wanted {
            if config.add_capabilities(flag).is_err() {
                log::debug!("this kernel has no {flag:?}");
            }
        }
        if let Err(most) = config.set_max_write(MAX_WRITE) {
            log::debug!("the largest write is {most} bytes");
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.asked(request);
        let found = self.overlay.lookup(parent.0, name);
        if found.as_ref().is_ok_and(|found| !found.attr.kind.is_dir()) {
            self.readers.looks(request.pid());
        }
        match found {
            Err(Errno::NOENT) => reply.entry(&self.options.timeout, &absent(), Generation(0)),
            result => answer_entry(reply, self.options.timeout, result),
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.overlay.forget(ino.0, nlookup);
        let count = self.forgotten.fetch_add(1, Ordering::Relaxed);
        if count % GIVE_BACK_AFTER == GIVE_BACK_AFTER - 1 {
            self.syncing.run(plyfs_sys::memory::give_back);
        }
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.asked(request);
        let found = self.overlay.getattr(ino.0);
        answer_attr(reply, self.options.timeout, found);
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
        self.asked(request);
        let caller = caller(request, 0);
        let set = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            ..SetAttr::default()
        };
        let set = SetAttr {
            // So the kernel sends a chown(2) that changes nothing, with the time of it if it keeps times
            // itself, and what it does before a write.
            drop_set_id: (set == SetAttr::default()).then_some(match ctime {
                Some(_) => DropSetId::Chown,
                None if self.options.writeback => DropSetId::UnlessRegular,
                None => DropSetId::Unsaid,
            }),
            // By a descriptor, the kernel sends sizes and the times it kept (`fuse_flush_times`).
            kept_by_kernel: self.options.writeback && fh.is_some() && size.is_none(),
            ..set
        };
        let timeout = self.options.timeout;
        let slow = self.is_slow(ino, size.map_or(Change::Attributes, Change::Size));
        if slow && let Ok(Some(now)) = self.overlay.setattr_of_nothing(ino.0, &set) {
            return answer_attr(reply, timeout, Ok(now));
        }
        self.change(
            request,
            slow,
            move |overlay| overlay.setattr(&caller, ino.0, &set),
            move |now| answer_attr(reply, timeout, now),
        );
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.asked(request);
        match self.overlay.readlink(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(error)),
        }
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
        self.asked(request);
        let (caller, name) = (caller(request, umask), name.to_owned());
        self.make(request, false, reply, move |overlay| {
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
        self.asked(request);
        let (caller, name) = (caller(request, umask), name.to_owned());
        self.make(request, false, reply, move |overlay| {
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
        self.asked(request);
        let caller = caller(request, 0);
        let (name, target) = (link_name.to_owned(), target.as_os_str().to_owned());
        self.make(request, false, reply, move |overlay| {
            overlay.symlink(&caller, parent.0, &name, &target)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.asked(request);
        // A whiteout takes room.
        let name = name.to_owned();
        let change = move |overlay: &Overlay| overlay.unlink(parent.0, &name);
        self.change(request, false, change, move |result| answer(reply, result));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.asked(request);
        let name = name.to_owned();
        let change = move |overlay: &Overlay| overlay.rmdir(parent.0, &name);
        self.change(request, false, change, move |result| answer(reply, result));
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
        self.asked(request);
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        let rename = || self.overlay.rename(from, to, flags, Patience::Little);
        if let Some(renamed) = self.change_here(false, rename)
            && renamed != Err(Errno::AGAIN)
        {
            return answer(reply, renamed);
        }
        let (name, newname) = (name.to_owned(), newname.to_owned());
        let change = move |overlay: &Overlay| {
            let (from, to) = ((parent.0, &*name), (newparent.0, &*newname));
            overlay.rename(from, to, flags, Patience::Much)
        };
        self.change_in_pool(request, change, move |result| answer(reply, result));
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.asked(request);
        let newname = newname.to_owned();
        let slow = self.is_slow(ino, Change::Attributes);
        self.make(request, slow, reply, move |overlay| {
            overlay.link(ino.0, newparent.0, &newname)
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if let Some(passthrough) = &self.passthrough {
            if may_change(flags) {
                // The kernel would open the file in the layer as it was asked to.
                return reply.error(fuser::Errno::EROFS);
            }
            return match self.overlay.data_of(ino.0) {
                Ok(file) => passthrough.open(ino.0, &file, reply),
                Err(error) => reply.error(errno(error)),
            };
        }
        if !self.sends(Saved::Open) {
            // Asked once: the kernel opens by itself from now on.
            return reply.error(fuser::Errno::ENOSYS);
        }
        if may_change(flags)
            && let Err(error) = self.overlay.check_may_open(ino.0, appends(flags))
        {
            return reply.error(errno(error));
        }
        let keep = self.keep_cache();
        // What is open is to stay the same file where a layer may get another of its name.
        if !self.options.copy_up_at_open && !self.options.allow_for_changes() {
            return reply.opened(FileHandle(0), keep);
        }
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        self.change(
            request,
            writes && self.is_slow(ino, Change::Data),
            move |overlay| match writes {
                true => overlay.prepare_to_write(ino.0),
                false => overlay.prepare_to_read(ino.0),
            },
            move |opened| match opened {
                Ok(()) => reply.opened(FileHandle(0), keep),
                Err(error) => reply.error(errno(error)),
            },
        );
    }

    fn release(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(passthrough) = &self.passthrough {
            passthrough.release(ino.0);
        }
        reply.ok();
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.sends(Saved::Opendir) {
            true => reply.opened(FileHandle(0), FopenFlags::empty()),
            false => reply.error(fuser::Errno::ENOSYS),
        }
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
        if !self.sends(Saved::Create) {
            // Asked once: the kernel makes files with MKNOD from now on.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let (caller, name) = (caller(request, umask), name.to_owned());
        let timeout = self.options.timeout;
        self.change(
            request,
            false,
            move |overlay| overlay.mknod(&caller, parent.0, &name, mode, Device::default()),
            move |made| answer_created(reply, timeout, made),
        );
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Nothing is held back here that closing would have to write.
        match self.sends(Saved::Flush) {
            true => reply.ok(),
            false => reply.error(fuser::Errno::ENOSYS),
        }
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
        self.asked_to_move(request, size as usize);
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.overlay.read_now(ino.0, offset, &mut buffer[..size]) {
                Ok(length) => return reply.data(&buffer[..length]),
                Err(Errno::AGAIN) => {}
                Err(error) => return reply.error(errno(error)),
            }
            // From a disk: that is not to keep others waiting.
            let overlay = self.overlay.clone();
            self.syncing.run(move || {
                let mut buffer = vec![0; size];
                match overlay.read(ino.0, offset, &mut buffer) {
                    Ok(length) => reply.data(&buffer[..length]),
                    Err(error) => reply.error(errno(error)),
                }
            });
        });
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
        self.asked_to_move(request, data.len());
        let mode = WriteMode {
            unprivileged: write_flags
                .contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID)
                .then(|| caller(request, 0)),
            gathered: write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
            appends: appends(flags),
        };
        let slow = self.is_slow(ino, Change::Data);
        let write = || self.overlay.write(ino.0, offset, data, mode);
        let (notifier, syncing) = (self.notifier.clone(), self.syncing.clone());
        let length = data.len();
        let answer = move |written: Result<usize>| {
            let refused = mode.gathered && written.is_err();
            answer_written(reply, written);
            if refused {
                // It waits for pages, whose requests this thread may have to read, or to write.
                syncing.run(move || notifier.forget_data(ino.0, offset, length));
            }
        };
        if let Some(written) = self.change_here(slow, write) {
            return answer(written);
        }
        let data = data.to_vec();
        let change = move |overlay: &Overlay| overlay.write(ino.0, offset, &data, mode);
        self.change_in_pool(request, change, answer);
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.asked(request);
        if self.overlay.never_syncs() && !self.sends(Saved::Fsync) {
            // Asked once: the kernel does not ask again, but still sends what it has gathered.
            return reply.error(fuser::Errno::ENOSYS);
        }
        if self.overlay.syncs_at_once(ino.0) {
            return answer(reply, self.overlay.fsync(ino.0, datasync));
        }
        let overlay = self.overlay.clone();
        self.syncing.run(move || {
            answer(reply, overlay.fsync(ino.0, datasync));
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.fsync(request, ino, fh, datasync, reply);
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let _long = self.asked_for_much(request);
        let listed = self.overlay.readdir(ino.0, offset, |entry| {
            let kind = file_type(entry.kind);
            let full = reply.add(INodeNo(entry.ino), entry.cookie, kind, &*entry.name);
            room(full)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _long = self.asked_for_much(request);
        let given = match offset {
            0 if !self.options.allow_for_changes() => self.readers.begins(request.pid()),
            _ => Given::All,
        };
        let mut may_probe = given == Given::AllWithProbe;
        let wants = match given {
            Given::Directories => Wants::Directories,
            Given::All | Given::AllWithProbe => Wants::All,
        };
        let listed = self
            .overlay
            .readdir_plus(ino.0, offset, wants, |entry, found| {
                let (attr, mut timeout) = listed_entry(entry, found, self.options.timeout);
                // Directories come first. If there is none, the first file serves.
                if let Some(found) = found
                    && !is_dots(entry)
                    && std::mem::take(&mut may_probe)
                    && !found.attr.kind.is_dir()
                {
                    self.readers.probes(request.pid());
                    timeout = Duration::ZERO;
                }
                let (name, none) = (&*entry.name, Generation(0));
                room(reply.add(attr.ino, entry.cookie, name, &timeout, &attr, none))
            });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match self.overlay.statfs() {
            Ok(found) => reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                small(found.f_bsize),
                small(found.f_namemax),
                small(found.f_frsize),
            ),
            Err(error) => reply.error(errno(error)),
        }
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
        self.asked(request);
        if !self.options.xattrs {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let caller = caller(request, 0);
        let flags = XattrFlags::from_bits_retain(flags.unsigned_abs());
        let (name, value) = (name.to_owned(), value.to_vec());
        self.change(
            request,
            self.is_slow(ino, Change::Attributes),
            move |overlay| overlay.setxattr(&caller, ino.0, &name, &value, flags),
            move |set| answer(reply, set),
        );
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.asked(request);
        let value = if !self.options.xattrs {
            Err(Errno::OPNOTSUPP)
        } else {
            self.overlay.getxattr(ino.0, name)
        };
        answer_xattr(reply, size, value);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.asked(request);
        if !self.options.xattrs {
            return answer_xattr(reply, size, Err(Errno::OPNOTSUPP));
        }
        let caller = caller(request, 0);
        answer_xattr(reply, size, self.overlay.listxattr(&caller, ino.0));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.asked(request);
        if !self.options.xattrs {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let caller = caller(request, 0);
        let name = name.to_owned();
        self.change(
            request,
            self.is_slow(ino, Change::Attributes),
            move |overlay| overlay.removexattr(&caller, ino.0, &name),
            move |removed| answer(reply, removed),
        );
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
        self.asked(request);
        let Some(command) = Command::parse(command, input) else {
            return reply.error(fuser::Errno::ENOTTY);
        };
        let answer = move |result| answer_ioctl(reply, result);
        if !command.changes() {
            let read = move |overlay: &Overlay| command.run(overlay, ino.0);
            return self.change_in_pool(request, read, answer);
        }
        if !self.flags_are_checked {
            return answer(Err(Errno::OPNOTSUPP));
        }
        let notifier = self.notifier.clone();
        let change = move |overlay: &Overlay| {
            // What was written before a file is protected is not to be refused.
            notifier.flush(ino.0);
            command.run(overlay, ino.0)
        };
        self.change_in(&self.syncing, request, change, answer);
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
        let (caller, mode) = (caller(request, 0), mode.unsigned_abs());
        self.change_in_pool(
            request,
            move |overlay| overlay.fallocate(&caller, ino.0, mode, offset, length),
            move |result| answer(reply, result),
        );
    }

    fn lseek(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            // The kernel answers the others by itself.
            _ => return reply.error(fuser::Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            // As lseek(2) says of what is before the file as of what is behind it.
            return reply.error(fuser::Errno::ENXIO);
        };
        let (overlay, notifier) = (self.overlay.clone(), self.notifier.clone());
        let gathers = self.options.writeback;
        self.syncing.run(move || {
            if gathers {
                // What a program has written need not have arrived here, and is no hole.
                notifier.flush(ino.0);
            }
            match overlay.seek(ino.0, offset, what) {
                Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
                Err(error) => reply.error(errno(error)),
            }
        });
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
        let caller = caller(request, 0);
        // The answer has 32 bits.
        let length = len.min(1 << 30) as usize;
        let (from, to) = ((ino_in.0, offset_in), (ino_out.0, offset_out));
        self.asked_to_move(request, length);
        let slow = self.is_slow(ino_out, Change::Data);
        let copy = || self.overlay.copy_now(&caller, from, to, length);
        if let Some(copied) = self.change_here(slow, copy)
            && copied != Err(Errno::AGAIN)
        {
            return answer_written(reply, copied);
        }
        self.change_in_pool(
            request,
            move |overlay| overlay.copy_range(&caller, from, to, length),
            move |copied| answer_written(reply, copied),
        );
    }
}

fn may_change(flags: OpenFlags) -> bool {
    let truncates = OFlags::from_bits_retain(flags.0.cast_unsigned()).contains(OFlags::TRUNC);
    truncates || flags.acc_mode() != OpenAccMode::O_RDONLY
}

fn appends(flags: OpenFlags) -> bool {
    OFlags::from_bits_retain(flags.0.cast_unsigned()).contains(OFlags::APPEND)
}

fn no_passthrough() -> io::Error {
    let why = "this kernel has no FUSE passthrough; leave passthrough= away";
    io::Error::new(io::ErrorKind::Unsupported, why)
}

fn room(full: bool) -> Room {
    if full { Room::Full } else { Room::Taken }
}

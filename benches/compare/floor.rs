//! The floor: what FUSE itself costs.
//!
//! A server that does nothing but answer, from memory, the requests that a kernel sends it when as many
//! as can be are saved: no file system below, no layers, no ownership, one thread. What plyfs takes
//! longer than this is its own; what this takes longer than the kernel's overlay no server can avoid.
//! It has no lower layers, so only workloads that make what they use can be run on it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use plyfs_fuse::{Observer, Work};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

/// The first argument of this program when it is to serve it.
pub const SERVE: &str = "__serve-floor";

/// For as long as the mount lives.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// Mounts, and leaves a process that serves.
///
/// # Errors
/// Those of opening the device and of mount(2).
pub fn mount(target: &Path) -> io::Result<()> {
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions",
        device.as_fd().as_raw_fd(),
        uid.as_raw(),
        gid.as_raw()
    );
    let data = std::ffi::CString::new(data)?;
    rustix::mount::mount("floor", target, "fuse.floor", MountFlags::NOATIME, &*data)?;
    // The path is how others find this process.
    Command::new(std::env::current_exe()?)
        .arg(SERVE)
        .arg(target)
        .stdin(Stdio::from(device))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// Serves the connection that is standard input.
///
/// # Errors
/// What reading from it fails with.
pub fn serve() -> io::Result<()> {
    let device = io::stdin().as_fd().try_clone_to_owned()?;
    let tree = Floor {
        tree: Mutex::new(Tree::new()),
        observer: Observer::of_sole_reader(device.try_clone()?),
    };
    let acl = fuser::SessionACL::All;
    fuser::Session::from_fd(tree, device, acl, fuser::Config::default())?.run()
}

#[derive(Debug)]
struct File {
    attr: FileAttr,
    data: Vec<u8>,
    names: HashMap<OsString, u64>,
}

#[derive(Debug)]
struct Tree {
    files: HashMap<u64, File>,
    next: u64,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Self {
            files: HashMap::new(),
            next: 1,
        };
        tree.add(FileType::Directory, 0o755, 0, 0);
        tree
    }

    fn add(&mut self, kind: FileType, mode: u32, uid: u32, gid: u32) -> FileAttr {
        let now = SystemTime::now();
        let attr = FileAttr {
            ino: INodeNo(self.next),
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: UNIX_EPOCH,
            kind,
            perm: (mode & 0o7777) as u16,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        let file = File {
            attr,
            data: Vec::new(),
            names: HashMap::new(),
        };
        self.files.insert(self.next, file);
        self.next += 1;
        attr
    }

    fn get(&mut self, id: INodeNo) -> Result<&mut File, Errno> {
        self.files.get_mut(&id.0).ok_or(Errno::ENOENT)
    }

    fn child(&mut self, parent: INodeNo, name: &OsStr) -> Result<u64, Errno> {
        let parent = self.get(parent)?;
        parent.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn make(
        &mut self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        kind: FileType,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        if self.child(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let attr = self.add(kind, mode, request.uid(), request.gid());
        let parent = self.get(parent)?;
        parent.names.insert(name.to_owned(), attr.ino.0);
        parent.attr.mtime = attr.mtime;
        Ok(attr)
    }

    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let id = self.child(parent, name)?;
        self.get(parent)?.names.remove(name);
        let file = self.get(INodeNo(id))?;
        file.attr.nlink = file.attr.nlink.saturating_sub(1);
        Ok(())
    }
}

#[derive(Debug)]
struct Floor {
    tree: Mutex<Tree>,
    /// What waking processors costs is saved as plyfs saves it: it is no part of the floor.
    observer: Observer,
}

impl Floor {
    /// The tree, for a request that a client waits for.
    fn tree(&self, request: &Request) -> MutexGuard<'_, Tree> {
        self.observer.arrived(request.pid(), Work::Little);
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attr) => reply.entry(&FOREVER, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Floor {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            // What a kernel does not have costs what it costs.
            config.add_capabilities(flag).ok();
        }
        config.set_max_write(1 << 20).ok();
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut tree = self.tree(request);
        match tree.child(parent, name) {
            Ok(id) => entry(reply, tree.get(INodeNo(id)).map(|file| file.attr)),
            Err(_) => {
                let mut absent = tree.files[&1].attr;
                absent.ino = INodeNo(0);
                reply.entry(&FOREVER, &absent, Generation(0));
            }
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, _nlookup: u64) {
        let mut tree = self.lock();
        if tree.get(ino).is_ok_and(|file| file.attr.nlink == 0) {
            tree.files.remove(&ino.0);
        }
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree(request).get(ino) {
            Ok(file) => reply.attr(&FOREVER, &file.attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree(request);
        let file = match tree.get(ino) {
            Ok(file) => file,
            Err(error) => return reply.error(error),
        };
        if let Some(mode) = mode {
            file.attr.perm = (mode & 0o7777) as u16;
        }
        if let Some(size) = size {
            file.data.resize(size as usize, 0);
            file.attr.size = size;
        }
        if let Some(TimeOrNow::SpecificTime(mtime)) = mtime {
            file.attr.mtime = mtime;
        }
        reply.attr(&FOREVER, &file.attr);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        match self.tree(request).get(ino) {
            Ok(file) => reply.data(&file.data),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let at = (parent, name);
        let made = self
            .tree(request)
            .make(request, at, FileType::RegularFile, mode & !umask);
        entry(reply, made);
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
        let at = (parent, name);
        let made = self
            .tree(request)
            .make(request, at, FileType::Directory, mode & !umask);
        entry(reply, made);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let mut tree = self.tree(request);
        let made = tree.make(request, (parent, name), FileType::Symlink, 0o777);
        if let Ok(file) = made.and_then(|attr| tree.get(attr.ino)) {
            file.data = target.as_os_str().as_encoded_bytes().to_vec();
        }
        entry(reply, made);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.tree(request).remove(parent, name));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.tree(request).remove(parent, name));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree(request);
        let moved = tree.child(parent, name).and_then(|id| {
            tree.get(parent)?.names.remove(name);
            let names = &mut tree.get(newparent)?.names;
            names.insert(newname.to_owned(), id);
            Ok(())
        });
        empty(reply, moved);
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let mut tree = self.tree(request);
        let linked = tree.get(ino).map(|file| {
            file.attr.nlink += 1;
            file.attr
        });
        if let Ok(parent) = tree.get(newparent) {
            parent.names.insert(newname.to_owned(), ino.0);
        }
        entry(reply, linked);
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
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
        match self.tree(request).get(ino) {
            Ok(file) => {
                let rest = file.data.get(offset as usize..).unwrap_or_default();
                reply.data(&rest[..rest.len().min(size as usize)]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree(request).get(ino) {
            Ok(file) => {
                let (start, end) = (offset as usize, offset as usize + data.len());
                if file.data.len() < end {
                    file.data.resize(end, 0);
                }
                file.data[start..end].copy_from_slice(data);
                file.attr.size = file.data.len() as u64;
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error),
        }
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Answered, so that it is sent.
        reply.ok();
    }

    fn readdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        reply: ReplyDirectory,
    ) {
        reply.ok();
    }

    fn getxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        reply.error(Errno::ENODATA);
    }
}

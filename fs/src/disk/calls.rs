//! Objects in layers: system calls on one, however it is reached.
//!
//! A node's object is a name below a directory descriptor, or a descriptor of its own where it has
//! no name any more. [`Located`] holds the one or the other together with the node's place lock, so
//! that the name stays right for as long as it is used; it is for quick calls only.

use std::ffi::OsStr;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;
use plyfs_format::override_stat::{self, OverrideStat};
use plyfs_sys::xattr::{self, At};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
};
use rustix::io::ReadWriteFlags;

use crate::Overlay;
use crate::config::override_stat_mode::Records;
use crate::disk::fd_cache::{Handle, Key};
use crate::disk::owner_mode::unlent;
use crate::error::{Errno, Result, decided};
use crate::inode::node::{Node, Place, Real};
use crate::layer::lower::{LowerFile, Marks, Name, open_dir};
use crate::types::{Attr, Device, FileKind, Timestamp};

/// What of statx(2) an attribute needs.
const STATX: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// The object of a node, while its place stays as it is.
pub(crate) struct Located<'n> {
    place: RwLockReadGuard<'n, Place>,
    fd: Arc<OwnedFd>,
    /// Its name in the directory `fd`; without one `fd` is the object itself.
    name: Option<Name>,
    /// Whether the object is in the upper layer.
    pub(crate) in_upper: bool,
    /// Which files of its layer may carry records.
    pub(crate) records: Records,
    /// Which records of overlays count in its layer.
    pub(crate) marks: Marks,
    /// The mount that its layer is of. See [`Layer::mount`](crate::layer::lower::Layer).
    pub(crate) mount: u64,
}

impl Located<'_> {
    pub(crate) fn at(&self) -> At<'_> {
        match &self.name {
            Some(name) => At::Name(self.fd.as_fd(), name.as_bytes()),
            None => At::Fd(self.fd.as_fd()),
        }
    }

    /// Where the data of a metacopy is.
    pub(crate) fn metacopy_data(&self) -> Option<LowerFile> {
        self.place.below.data().cloned()
    }

    /// The object as a file of a lower layer, if it is one.
    pub(crate) fn lower_file(&self) -> Option<LowerFile> {
        let name = self.place.name.clone();
        match &self.place.real {
            Real::Lower(dir) if self.name.is_some() => Some(LowerFile {
                dir: dir.clone(),
                name,
            }),
            _ => None,
        }
    }
}

/// A way down from a directory that is open.
struct Descent {
    /// Descriptor of the directory where it begins.
    fd: Arc<OwnedFd>,
    /// That directory.
    node: Arc<Node>,
    /// The directories from there, the last first.
    below: Vec<Arc<Node>>,
}

/// statx(2) of an object, not following a link.
pub(crate) fn stat(at: At<'_>) -> Result<Statx> {
    match at {
        At::Fd(fd) => stat_fd(fd),
        At::Name(dir, name) => stat_name(dir, name),
    }
}

/// statx(2) of a descriptor.
pub(crate) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx> {
    unlent(|| rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, STATX))
}

/// statx(2) of a name, not following a link.
pub(crate) fn stat_name(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx> {
    unlent(|| rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, STATX))
}

/// Turns "there is no such name" into `None`.
pub(crate) fn stat_of_absent(stat: Result<Statx>) -> Result<Option<Statx>> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The device an object lies on.
pub(crate) fn device_of(stat: &Statx) -> Device {
    Device {
        major: stat.stx_dev_major,
        minor: stat.stx_dev_minor,
    }
}

/// The `override_stat` record of an object. `None` if it has none, or one that cannot be read.
pub(crate) fn record(at: At<'_>, records: Records) -> Result<Option<OverrideStat>> {
    let mut buffer = [0; override_stat::MAX_LEN];
    match xattr::get(at, records.attribute(), &mut buffer) {
        Ok(len) => Ok(OverrideStat::parse(&buffer[..len])),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The attributes of an object as its record has them, if it has one.
pub(crate) fn recorded_attr_of(at: At<'_>, stat: &Statx, records: Records) -> Result<Attr> {
    let mut attr = Attr::from_statx(stat).ok_or_else(|| decided(Errno::IO))?;
    (attr.uid, attr.gid) = records.owner_on_disk(stat);
    if records.may_be_on(attr.kind, stat)
        && let Some(record) = record(at, records)?
        && records.may_say(&record)
    {
        attr.apply(&record);
    }
    Ok(attr)
}

/// Opens an object: a regular file, a directory, or whatever it is with `O_PATH`. A symbolic link is not followed.
///
/// # Errors
/// `STALE` for anything else, which the owner of a layer may have put in the place of a file that is known. Opening
/// a fifo would wait for a writer, and with it all users of the mount.
pub(crate) fn open(at: At<'_>, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    if flags.intersects(OFlags::PATH | OFlags::DIRECTORY) {
        return open_any(at, flags);
    }
    let opened = match open_any(at, flags | OFlags::NONBLOCK) {
        // A process has a lease on it, which only a regular file has (fcntl(2)), and gets time to end that.
        Err(Errno::WOULDBLOCK) => open_any(at, flags),
        // A socket, or a device without a driver.
        Err(Errno::NXIO | Errno::NODEV) => Err(decided(Errno::STALE)),
        opened => opened,
    }?;
    let mode = rustix::fs::fstat(&opened)?.st_mode;
    match FileKind::from_mode(mode) {
        Some(FileKind::Regular | FileKind::Directory) => Ok(opened),
        _ => Err(decided(Errno::STALE)),
    }
}

fn open_any(at: At<'_>, flags: OFlags) -> Result<OwnedFd> {
    match at {
        At::Fd(fd) => rustix::fs::open(proc_path(fd), flags, Mode::empty()),
        At::Name(dir, name) => {
            rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
    }
}

/// chmod(2) of an object that is no symbolic link.
pub(crate) fn chmod(at: At<'_>, mode: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match at {
        // Of an `O_PATH` descriptor only its path can be used (open(2)).
        At::Fd(fd) => match rustix::fs::fchmod(fd, mode) {
            Err(Errno::BADF) => rustix::fs::chmod(proc_path(fd), mode),
            other => other,
        },
        At::Name(dir, name) => rustix::fs::chmodat(dir, name, mode, AtFlags::empty()),
    }
}

/// chown(2) of an object, not following a link.
pub(crate) fn chown(at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    match at {
        At::Fd(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        At::Name(dir, name) => rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// utimensat(2) of an object, not following a link.
pub(crate) fn set_times(at: At<'_>, times: &Timestamps) -> Result<()> {
    match at {
        At::Fd(fd) => match rustix::fs::futimens(fd, times) {
            Err(Errno::BADF) => {
                rustix::fs::utimensat(rustix::fs::CWD, proc_path(fd), times, AtFlags::empty())
            }
            other => other,
        },
        At::Name(dir, name) => rustix::fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW),
    }
}

/// preadv2(2) of what is in memory, `AGAIN` if there is nothing of it (`RWF_NOWAIT`).
pub(crate) fn read_in_memory(fd: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut buffers = [IoSliceMut::new(buffer)];
    rustix::io::preadv2(fd, &mut buffers, offset, ReadWriteFlags::NOWAIT)
}

/// Sets the time of the last change of an open file.
pub(crate) fn set_mtime(fd: BorrowedFd<'_>, mtime: Timestamp) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    };
    rustix::fs::futimens(fd, &times)
}

/// The path that leads to the object of a descriptor, whatever it is (proc_pid_fd(5)).
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Overlay {
    /// The object of a node.
    ///
    /// # Errors
    /// Those of opening the directories that lead to it.
    pub(crate) fn locate<'n>(&self, node: &'n Node) -> Result<Located<'n>> {
        let place = node.place.read();
        let upper = || self.upper.as_ref().ok_or_else(|| decided(Errno::STALE));
        let (fd, name, layer) = match (&place.real, &place.parent) {
            (Real::Upper, None) if node.is_root() => {
                let layer = &upper()?.layer;
                (layer.root.clone(), None, layer)
            }
            // Forgotten while it was used: where it is was forgotten with it.
            (Real::Upper, None) => return Err(decided(Errno::STALE)),
            (Real::Upper, Some(parent)) => {
                let name = Some(place.name.clone());
                (self.upper_dir(parent)?, name, &upper()?.layer)
            }
            (Real::Index(name), _) => {
                let index = self.index().ok_or_else(|| decided(Errno::STALE))?;
                (
                    index.dir().clone(),
                    Some(Name::clone(name)),
                    &upper()?.layer,
                )
            }
            (Real::Lower(lower), _) => {
                let layer = &self.lowers[usize::from(lower.layer)];
                let fd = lower.open(&self.lowers, &self.fds)?;
                let name = (!node.kind.is_dir()).then(|| place.name.clone());
                (fd, name, layer)
            }
            (Real::Orphan(kept), _) => (kept.fd.clone(), None, &upper()?.layer),
        };
        Ok(Located {
            in_upper: !matches!(place.real, Real::Lower(_)),
            place,
            fd,
            name,
            records: layer.records,
            marks: layer.marks,
            mount: layer.mount,
        })
    }

    /// What stat(2) shows for a node.
    pub(crate) fn attr(&self, node: &Node) -> Result<Attr> {
        // The kernel asks for those of a directory after each change in it, which went by this descriptor.
        if node.kind.is_dir()
            && let (Some(upper), Some(handle)) = (&self.upper, self.fds.get(Key::UpperDir(node.id)))
        {
            let at = At::Fd(handle.fd.as_fd());
            let mut attr = self.attr_of(at, &stat(at)?, upper.layer.records)?;
            self.adapt(node, &mut attr, true);
            return Ok(attr);
        }
        let object = self.locate(node)?;
        let stat = match self.check_in_place(node, &object, stat(object.at())) {
            // Replaced while it is open.
            Err(Errno::STALE) if let Some(open) = self.fds.get(Key::File(node.id)) => {
                let at = At::Fd(open.fd.as_fd());
                let mut attr = self.attr_of(at, &stat_fd(open.fd.as_fd())?, object.records)?;
                self.adapt(node, &mut attr, false);
                return Ok(attr);
            }
            found => found?,
        };
        let mut attr = self.attr_of(object.at(), &stat, object.records)?;
        self.adapt(node, &mut attr, object.in_upper);
        if let (Real::Index(name), Some(index)) = (&object.place.real, self.index()) {
            attr.nlink = index.links(name, &stat, None)?;
        }
        self.adapt_blocks(&mut attr, object.place.below.data())?;
        Ok(attr)
    }

    /// Turns the attributes of an object into those of the node that shows it.
    pub(crate) fn adapt(&self, node: &Node, attr: &mut Attr, in_upper: bool) {
        attr.ino = node.ino();
        if node.is_merged(in_upper) || (self.static_nlink && attr.kind.is_dir()) {
            attr.nlink = 1;
        }
    }

    /// Shows the blocks of a metacopy where its data is.
    pub(crate) fn adapt_blocks(&self, attr: &mut Attr, data: Option<&LowerFile>) -> Result<()> {
        let Some(data) = data else { return Ok(()) };
        let dir = data.dir.open(&self.lowers, &self.fds);
        let stat = dir.and_then(|dir| stat_name(dir.as_fd(), data.name.as_bytes()));
        attr.blocks = match stat {
            Ok(stat) => stat.stx_blocks,
            // What it would take, as the kernel's overlay says of data it has not looked for.
            Err(Errno::NOENT | Errno::NOTDIR) => attr.size.div_ceil(512),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// As [`attr`](Self::attr), with owners that cannot be shown as they are recorded.
    pub(crate) fn recorded_attr(&self, node: &Node) -> Result<Attr> {
        let object = self.locate(node)?;
        recorded_attr_of(object.at(), &stat(object.at())?, object.records)
    }

    /// The attributes of an object, with its number in its own file system.
    pub(crate) fn attr_of(&self, at: At<'_>, stat: &Statx, records: Records) -> Result<Attr> {
        let mut attr = recorded_attr_of(at, stat, records)?;
        (attr.uid, attr.gid) = match records.rule(attr.kind) {
            true => self.shown_ids.apply(attr.uid, attr.gid),
            false => self.owners.shown(attr.uid, attr.gid),
        };
        Ok(attr)
    }

    /// `O_PATH` descriptor of the upper directory of a node.
    ///
    /// # Errors
    /// `STALE` if it is not in the upper layer, and those of openat(2).
    pub(crate) fn upper_dir(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>> {
        if let Some(handle) = self.fds.get(Key::UpperDir(node.id)) {
            return Ok(handle.fd);
        }
        let mut tries = 0;
        loop {
            match self.open_down(&self.nearest_open(node)?) {
                // A directory on the way was moved between the two steps.
                Err(Errno::STALE) if tries < 100 => tries += 1,
                other => return other,
            }
        }
    }

    /// The nearest ancestor whose upper directory is open, and the way from there.
    fn nearest_open(&self, node: &Arc<Node>) -> Result<Descent> {
        let upper = self.upper.as_ref().ok_or(Errno::ROFS)?;
        let mut below = Vec::new();
        let mut node = node.clone();
        loop {
            if node.is_root() {
                let fd = upper.layer.root.clone();
                return Ok(Descent { fd, node, below });
            }
            if let Some(handle) = self.fds.get(Key::UpperDir(node.id)) {
                let fd = handle.fd;
                return Ok(Descent { fd, node, below });
            }
            let place = node.place.read();
            let (real, parent) = (place.real.clone(), place.parent.clone());
            drop(place);
            match (real, parent) {
                (Real::Orphan(kept), _) => {
                    let fd = kept.fd.clone();
                    return Ok(Descent { fd, node, below });
                }
                (Real::Upper, Some(parent)) => below.push(std::mem::replace(&mut node, parent)),
                _ => return Err(decided(Errno::STALE)),
            }
        }
    }

    /// Opens directories downwards and keeps them. Each is opened under its own place lock: the name
    /// is right in the directory above, which is held by a descriptor and may itself move meanwhile.
    fn open_down(&self, way: &Descent) -> Result<Arc<OwnedFd>> {
        let (mut fd, mut above) = (way.fd.clone(), &way.node);
        for node in way.below.iter().rev() {
            let place = node.place.read();
            if !place.is_in(above) || !matches!(place.real, Real::Upper) {
                return Err(decided(Errno::STALE));
            }
            fd = Arc::new(self.fds.open(|| open_dir(fd.as_fd(), &place.name))?);
            let handle = Handle {
                fd: fd.clone(),
                writable: false,
            };
            self.fds.insert(Key::UpperDir(node.id), handle);
            above = node;
        }
        Ok(fd)
    }

    /// A name in the upper directory of a node.
    pub(crate) fn upper_stat(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Statx>> {
        stat_of_absent(stat_name(dir, name.as_bytes()))
    }
}

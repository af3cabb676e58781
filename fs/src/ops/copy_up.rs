//! Copy-up: making a file of a lower layer a file of the upper one.
//!
//! The copy is made in the work directory, complete with data, owner, mode, attributes and times,
//! made durable (or sure to be so together with its name, see [`copy_data`](crate::disk::copy_data)), and published by
//! one rename. Directories on the way are copied up first, from the
//! top. While data is copied only the node's own copy-up lock is held: its readers, and everybody
//! else, go on with the lower file; then the place of the node changes to the upper layer under its
//! locks, and from then on everybody uses the copy.
//!
//! A file that was removed while in use is copied up too when it is changed; its copy never gets a
//! name.
//!
//! With `metacopy`, a change of attributes brings the attributes alone. The copy has the size of the
//! file, no data, and the mark of a metacopy; reads go to the lower file until the first write, which
//! copies the data into place and then takes the mark away.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::handle::index_name;
use plyfs_format::names::Record;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{OFlags, Statx, Timespec, Timestamps, XattrFlags};

use crate::Overlay;
use crate::disk::calls::{self, stat_fd};
use crate::disk::copy_data::{Copied, copy_data};
use crate::disk::fd_cache::Key;
use crate::disk::interrupt;
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result, decided};
use crate::inode::listing::Known;
use crate::inode::node::{Node, Real};
use crate::layer::index::Index;
use crate::layer::lower::{LowerFile, Name};
use crate::layer::new_object::{self, Wanted};
use crate::layer::object_id::ObjectId;
use crate::layer::origin;
use crate::ops::xattr::Naming;
use crate::overlay::open::Upper;
use crate::types::{Attr, FileKind, Timestamp};

/// How much of a file's data a copy-up is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// None, if the overlay leaves data below; else all.
    None,
    /// All of it.
    Whole,
    /// What lies before this offset, because the file is about to be truncated there.
    Before(u64),
}

/// What is to be changed of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Anything but its data.
    Attributes,
    /// Its data.
    Data,
    /// Its size, to so many bytes.
    Size(u64),
}

/// A lower object that is being copied.
struct Source {
    /// Open for reading if it is a regular file, else `O_PATH`.
    fd: Arc<OwnedFd>,
    /// Where the data of a regular file is.
    data: Option<LowerFile>,
    /// Whether that is another file.
    is_metacopy: bool,
    stat: Statx,
    /// Whether it has other names that are to stay one file with it, which the index sees to.
    is_linked: bool,
    /// Whether it lies on a file system mounted inside its layer, where other paths may lead to it too.
    is_mounted_inside: bool,
    /// What it shows, owners as they are recorded.
    attr: Attr,
    /// How the attributes of its layer are named.
    naming: Naming,
}

/// A copy that has all but a name.
struct Filled {
    fd: OwnedFd,
    /// What it was before it was given its owner and mode.
    disk: Statx,
    /// The handle of its source, if it keeps that.
    origin: Option<Vec<u8>>,
}

/// A copy in the work directory.
struct Copy {
    name: std::ffi::OsString,
    /// A descriptor of it.
    fd: Arc<OwnedFd>,
    object: ObjectId,
    /// Whether it keeps the handle of what it is a copy of.
    has_origin: bool,
    /// Where its data is, if that was not copied.
    data: Option<LowerFile>,
    /// Its name in the index, and how many names the file has, if they are to stay one.
    indexed: Option<(Name, u32)>,
}

impl Overlay {
    /// Whether changing this node would copy a regular file's data first, which may take a while.
    pub fn is_slow_to_change(&self, id: u64, change: Change) -> bool {
        let extent = match change {
            Change::Attributes => self.least_extent(),
            Change::Data => Extent::Whole,
            Change::Size(size) => Extent::Before(size),
        };
        self.nodes.get(id).is_some_and(|node| {
            extent != Extent::None
                && node.kind == FileKind::Regular
                && !node.is_copied(extent)
                && !self.copies_at_once(&node, extent)
        })
    }

    /// How much of a file is copied up to change its attributes.
    fn least_extent(&self) -> Extent {
        match self.metacopy {
            true => Extent::None,
            false => Extent::Whole,
        }
    }

    /// Makes sure that a node's object is in the upper layer.
    ///
    /// # Errors
    /// `ROFS` without an upper layer, and whatever goes wrong in copying: `NOSPC`, `DQUOT`, `ACCESS`
    /// for a file that cannot be read.
    pub(crate) fn copy_up(&self, node: &Arc<Node>, extent: Extent) -> Result<()> {
        let extent = match extent {
            // What is a metacopy from another time stays one.
            Extent::None if !node.in_upper() => self.least_extent(),
            extent => extent,
        };
        if node.is_copied(extent) {
            return Ok(());
        }
        let upper = self.upper()?;
        // The directories above first. A list, not recursion: a tree may be deeper than a stack.
        let mut chain = vec![node.clone()];
        while let Some(parent) = chain
            .last()
            .and_then(|node| node.place.read().parent.clone())
        {
            if parent.in_upper() {
                break;
            }
            chain.push(parent);
        }
        for node in chain.iter().rev() {
            self.copy_up_one(upper, node, extent)?;
        }
        Ok(())
    }

    fn copy_up_one(&self, upper: &Upper, node: &Arc<Node>, extent: Extent) -> Result<()> {
        let _copying = loop {
            // Others may be copying it, which takes as long.
            match node.copy_up.try_lock_for(interrupt::INTERVAL) {
                Some(copying) => break copying,
                None => interrupt::check()?,
            }
        };
        if node.is_copied(extent) {
            return Ok(());
        }
        if node.in_upper() {
            return self.complete(upper, node, extent);
        }
        let source = self.open_source(node)?;
        let copy = self.stage_copy(upper, node.kind, source, extent)?;
        let published = self.publish(upper, node, &copy);
        if published.is_err() {
            upper.work.discard(&copy.name);
        }
        let parent = published?;
        // The copy has another ctime, and perhaps another number, link count and size on disk. A new
        // name changes the ctime of the directory. The kernel asked for a change of neither.
        self.changed_unasked(node.id);
        if let Some(parent) = parent {
            self.changed_unasked(parent.id);
        }
        Ok(())
    }

    fn open_source(&self, node: &Node) -> Result<Source> {
        // Readers of the file, and the check whether this is slow, have it open.
        let open = match node.kind {
            FileKind::Regular if !node.is_metacopy() => Some(self.open_for_reading(node)?),
            _ => None,
        };
        let object = self.locate(node)?;
        if self.lowers_change {
            // The copy would hide what is there now.
            self.check_in_place(node, &object, calls::stat(object.at()))?;
        }
        let elsewhere = object.metacopy_data();
        let fd = match (open, object.at()) {
            (Some(open), _) if elsewhere.is_none() => open,
            (_, at) if node.kind == FileKind::Regular => {
                Arc::new(self.fds.open(|| calls::open(at, OFlags::RDONLY))?)
            }
            // An `O_PATH` descriptor of the object itself.
            (_, At::Fd(fd)) => Arc::new(fd.try_clone_to_owned().map_err(|_| Errno::MFILE)?),
            (_, at) => Arc::new(self.fds.open(|| calls::open(at, OFlags::PATH))?),
        };
        let stat = stat_fd(fd.as_fd())?;
        let attr = calls::recorded_attr_of(At::Fd(fd.as_fd()), &stat, object.records)?;
        if attr.kind != node.kind {
            // Its layer was changed since it was looked up.
            return Err(decided(Errno::STALE));
        }
        let is_mounted_inside = stat.stx_mnt_id != object.mount;
        Ok(Source {
            fd,
            is_linked: !node.kind.is_dir() && stat.stx_nlink > 1 && !is_mounted_inside,
            is_mounted_inside,
            is_metacopy: elsewhere.is_some(),
            data: elsewhere.or(object.lower_file()),
            stat,
            attr,
            naming: self.naming(&object),
        })
    }

    /// Brings the data into a copy that was made without it.
    fn complete(&self, upper: &Upper, node: &Arc<Node>, extent: Extent) -> Result<()> {
        const CAPABILITY: &CStr = c"security.capability";
        let object = self.locate(node)?;
        let Some(data) = object.metacopy_data() else {
            return Ok(());
        };
        let file = self.open_upper_file(&object, true, false)?.fd;
        drop(object);
        let from = self.open_data(&data)?;
        let (before, at) = (stat_fd(file.as_fd())?, At::Fd(file.as_fd()));
        // Writing takes it from a file.
        let capability = xattr::get_all(at, CAPABILITY)?;
        let from_stat = stat_fd(from.as_fd())?;
        let from = (from.as_fd(), &from_stat);
        // Also if it fails: it may be made again.
        let copied = copy_data(from, before.stx_size, file.as_fd(), extent);
        if let Some(capability) = capability {
            xattr::set(at, CAPABILITY, &capability, XattrFlags::empty())?;
        }
        set_times_of(at, &before)?;
        let copied = copied?;
        if !self.volatile {
            upper.sync_copy(file.as_fd(), copied)?;
        }
        let mark = upper.namespace.name(Record::Metacopy);
        with_permission(at, || xattr::remove(at, mark))?;
        {
            let mut place = node.place.write();
            place.below.set_data(None);
            self.fds.remove(Key::File(node.id));
        }
        // Its ctime and its blocks.
        self.changed_unasked(node.id);
        Ok(())
    }

    /// Makes a complete and durable copy in the work directory.
    fn stage_copy(
        &self,
        upper: &Upper,
        kind: FileKind,
        source: Source,
        extent: Extent,
    ) -> Result<Copy> {
        // The mode is given as it is to be; no mask of a caller applies.
        plyfs_sys::thread::set_umask(0)?;
        let target = match kind {
            FileKind::Symlink => Some(new_object::read_link(At::Fd(source.fd.as_fd()))?),
            _ => None,
        };
        let wanted = Wanted {
            kind,
            mode: source.attr.mode,
            uid: source.attr.uid,
            gid: source.attr.gid,
            rdev: source.attr.rdev,
            target: target.as_deref().map(OsStr::from_bytes),
        };
        // Attributes are written to it before it has its own mode, which may keep its owner out.
        let staged = Wanted {
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
        origin::write(upper, copy, &record).then_some(record)
    }

    fn fill(
        &self,
        upper: &Upper,
        name: &OsStr,
        made: Option<OwnedFd>,
        wanted: &Wanted<'_>,
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
        let at = At::Fd(fd.as_fd());
        let copied = match (wanted.kind, extent) {
            (FileKind::Regular, Extent::None) => {
                rustix::fs::ftruncate(&fd, source.stat.stx_size)?;
                let mark = upper.namespace.name(Record::Metacopy);
                xattr::set(at, mark, b"", XattrFlags::empty())?;
                Copied::Nothing
            }
            (FileKind::Regular, _) => {
                let size = source.stat.stx_size;
                let elsewhere = source.data.as_ref().filter(|_| source.is_metacopy);
                match elsewhere {
                    Some(data) => {
                        let from = self.open_data(data)?;
                        let from_stat = stat_fd(from.as_fd())?;
                        copy_data((from.as_fd(), &from_stat), size, fd.as_fd(), extent)?
                    }
                    None => {
                        let from = (source.fd.as_fd(), &source.stat);
                        copy_data(from, size, fd.as_fd(), extent)?
                    }
                }
            }
            _ => Copied::Nothing,
        };
        let records = upper.layer.records;
        let disk = stat_fd(fd.as_fd())?;
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
            self.copy_flags(upper, from, fd.as_fd(), wanted.kind)?;
        }
        let mode = Wanted::disk_mode(wanted.kind, wanted.mode, records);
        if wanted.kind != FileKind::Symlink {
            let now = match is_others || has_xattrs {
                true => stat_fd(fd.as_fd())?,
                false => disk,
            };
            if u32::from(now.stx_mode) & 0o7777 != mode {
                calls::chmod(at, mode)?;
            }
        }
        if by_record {
            new_object::write_record(at, wanted.record(&stat_fd(fd.as_fd())?, records), records)?;
        }
        calls::set_times(at, &times_of(&source.attr))?;
        if !self.volatile {
            upper.sync_copy(fd.as_fd(), copied)?;
        }
        Ok(Filled { fd, disk, origin })
    }

    /// Gives the copy its name, and the node its new place. Returns the directory that has the name;
    /// `None` for a file that was removed.
    fn publish(&self, upper: &Upper, node: &Arc<Node>, copy: &Copy) -> Result<Option<Arc<Node>>> {
        loop {
            let Some(parent) = node.place.read().parent.clone() else {
                if self.adopt_nameless(upper, node, copy) {
                    return Ok(None);
                }
                continue;
            };
            let mut names = parent.dir()?.names.write();
            let dir = self.upper_dir(&parent)?;
            let mut place = node.place.write();
            if !place.is_in(&parent) {
                // It was moved or removed while its data was copied.
                continue;
            }
            // The directory does not change by showing the same file from another layer.
            let dir_stat = stat_fd(dir.as_fd())?;
            if copy.has_origin || copy.data.is_some() {
                self.make_impure(upper, &parent, dir.as_fd());
            }
            let indexed = self.enter_index(upper, copy)?;
            let renamed = upper.work.publish(&copy.name, (dir.as_fd(), &place.name));
            let renamed = match renamed {
                // The name is that of another file by now.
                Err(Errno::EXIST) if self.lowers_change => Err(decided(Errno::STALE)),
                renamed => renamed,
            };
            if u32::from(dir_stat.stx_mode) & 0o300 != 0o300 {
                // A caller may have seen the mode that the directory had meanwhile.
                self.changed_unasked(parent.id);
            }
            if let Some((index, entry, links)) = indexed {
                if renamed.is_err() {
                    index.remove(entry)?;
                } else if let Err(errno) = index.count_down(entry, links) {
                    log::warn!("a file counts a name too many: {errno}");
                }
            }
            renamed?;
            restore_times(dir.as_fd(), &dir_stat);
            if let Some(listing) = &mut names.listing {
                listing.raise(&place.name);
            }
            if !node.kind.is_dir() {
                self.nodes.rebind(node, copy.object, copy.has_origin);
                if let Some(listing) = &mut names.listing
                    && let Some(number) = self.nodes.number(node.id)
                {
                    listing.insert(&place.name, Known::Object(number, node.kind));
                }
            }
            place.real = match indexed {
                Some((_, entry, _)) => Real::Index(Arc::new(entry.clone())),
                None => Real::Upper,
            };
            place.below.set_data(copy.data.clone());
            self.fds.remove(Key::File(node.id));
            drop(place);
            drop(names);
            return Ok(Some(parent));
        }
    }

    /// Puts a copy into the index, if it belongs there. Without that it would be a file of its own, and a
    /// change of one name would not be one of the others.
    ///
    /// # Errors
    /// Those of link(2) and setxattr(2): in memory and under a quota a link takes space, too.
    fn enter_index<'c>(
        &'c self,
        upper: &'c Upper,
        copy: &'c Copy,
    ) -> Result<Option<(&'c Index, &'c Name, u32)>> {
        let (Some(index), Some((entry, links))) = (&upper.index, &copy.indexed) else {
            return Ok(None);
        };
        index.insert(upper.work.dir(), &copy.name, entry, *links)?;
        Ok(Some((index, entry, *links)))
    }

    /// Makes the copy the object of a node that has no name any more. `false` if it has one again.
    fn adopt_nameless(&self, upper: &Upper, node: &Arc<Node>, copy: &Copy) -> bool {
        let mut place = node.place.write();
        if place.parent.is_some() {
            return false;
        }
        upper.work.discard(&copy.name);
        self.nodes.rebind(node, copy.object, copy.has_origin);
        place.real = Real::Orphan(self.removed.keep(copy.fd.clone()));
        place.below.set_data(copy.data.clone());
        self.fds.remove(Key::File(node.id));
        true
    }
}

/// Sets the times of a directory to what they were before something was put into it that it showed
/// already.
pub(crate) fn restore_times(dir: BorrowedFd<'_>, before: &Statx) {
    if let Err(errno) = set_times_of(At::Fd(dir), before) {
        log::debug!("cannot restore the times of a directory: {errno}");
    }
}

/// Gives an object the times that one had.
pub(crate) fn set_times_of(at: At<'_>, stat: &Statx) -> Result<()> {
    match Attr::from_statx(stat) {
        Some(attr) => calls::set_times(at, &times_of(&attr)),
        None => Ok(()),
    }
}

/// Both times of a file, to be set on another.
fn times_of(attr: &Attr) -> Timestamps {
    let timespec = |time: Timestamp| Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: timespec(attr.atime),
        last_modification: timespec(attr.mtime),
    }
}

/// Copies the extended attributes that belong to the file and not to an overlay. `true` if there are any.
fn copy_xattrs(source: &Source, to: At<'_>, naming: Naming) -> Result<bool> {
    let from = At::Fd(source.fd.as_fd());
    let mut any = false;
    let names = xattr::list(from)?;
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let new_name = source.naming.shown(name);
        let Some(new_name) = new_name.and_then(|shown| naming.stored(&shown)) else {
            continue;
        };
        let name = CString::new(name).map_err(|_| decided(Errno::INVAL))?;
        let Some(value) = xattr::get_all(from, &name)? else {
            continue;
        };
        match xattr::set(to, &new_name, &value, XattrFlags::empty()) {
            Ok(()) => any = true,
            Err(error) if may_be_left(&new_name, error) => {
                log::debug!("copy-up leaves {}: {error}", new_name.to_string_lossy());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

/// Whether a copy is complete without this attribute: the file system below does not have such
/// attributes, or this process may not set them and could not make use of them either.
///
/// ACLs say who may read a file and must not be lost.
fn may_be_left(name: &CStr, error: Errno) -> bool {
    let name = name.to_bytes();
    match error {
        Errno::OPNOTSUPP => !name.starts_with(b"system.posix_acl_"),
        Errno::PERM => name.starts_with(b"security.") || name.starts_with(b"trusted."),
        _ => false,
    }
}

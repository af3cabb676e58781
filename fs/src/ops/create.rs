//! Making names: files, directories, links.
//!
//! Where nothing is in the way, a new object is made in the upper directory at once; the file system
//! below then applies what the directory asks for, set-gid and default ACL included. Where the upper
//! directory holds a whiteout of that name, the object is made in the work directory and takes the
//! whiteout's place in one rename, so that what the whiteout hides never shows.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::protattr::Protection;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{AtFlags, Mode, OFlags, Statx, XattrFlags};

use crate::Overlay;
use crate::disk::calls;
use crate::disk::fd_cache::{Handle, Key};
use crate::error::{Errno, Result, decided};
use crate::inode::listing::{Known, Listing, Source};
use crate::inode::node::{Names, Node};
use crate::layer::lower::Name;
use crate::layer::new_object::{self, Wanted};
use crate::layer::object_id::ObjectId;
use crate::layer::redirect::RedirectDir;
use crate::layer::whiteout::is_whiteout;
use crate::ops::copy_up::Extent;
use crate::ops::lookup::{Entry, check_name};
use crate::overlay::open::Upper;
use crate::types::{Caller, Device, FileKind};

const S_ISGID: u32 = 0o2000;
const DEFAULT_ACL: &std::ffi::CStr = c"system.posix_acl_default";

/// What is under a name in the merged directory, as far as making something there is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Nothing, in no layer.
    Bare,
    /// Nothing, because of a whiteout in the upper directory.
    Whiteout,
    /// Nothing, because of a whiteout in the form of a file of another name there.
    ArchiveWhiteout,
    /// Something.
    Taken,
}

/// What was made.
struct Made {
    /// A regular file, opened.
    fd: Option<OwnedFd>,
    /// The attributes of the object if they are known.
    stat: Option<Statx>,
    /// Where its name will be found first.
    source: Source,
    /// It is a directory that hides those below by whiteouts.
    merged: bool,
    /// It is a directory that hides what is below already.
    hides: bool,
}

/// A directory in which something is being made.
pub(crate) struct Site<'s> {
    pub(crate) upper: &'s Upper,
    pub(crate) parent: &'s Arc<Node>,
    /// The upper directory of `parent`.
    pub(crate) dir: Arc<OwnedFd>,
}

impl Overlay {
    /// Makes a regular file, fifo, socket or device (mknod(2)); `mode` has its type bits.
    ///
    /// # Errors
    /// `EXIST`, `ROFS`, `PERM` for a device that would be a whiteout, and those of copying up the
    /// directory and of mknod(2).
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        rdev: Device,
    ) -> Result<Entry> {
        let kind = FileKind::from_mode(mode).ok_or_else(|| decided(Errno::INVAL))?;
        if kind == FileKind::Char && rdev == Device::default() {
            return Err(Errno::PERM);
        }
        self.create(caller, parent, name, kind, mode & 0o7777, rdev, None)
    }

    /// Makes a directory (mkdir(2)).
    ///
    /// # Errors
    /// As [`mknod`](Self::mknod).
    pub fn mkdir(&self, caller: &Caller, parent: u64, name: &OsStr, mode: u32) -> Result<Entry> {
        let (kind, mode) = (FileKind::Directory, mode & 0o7777);
        self.create(caller, parent, name, kind, mode, Device::default(), None)
    }

    /// Makes a symbolic link (symlink(2)).
    ///
    /// # Errors
    /// As [`mknod`](Self::mknod).
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: u64,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry> {
        let (kind, device) = (FileKind::Symlink, Device::default());
        self.create(caller, parent, name, kind, 0o777, device, Some(target))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one for each property of a new file"
    )]
    fn create(
        &self,
        caller: &Caller,
        parent: u64,
        name: &OsStr,
        kind: FileKind,
        mode: u32,
        rdev: Device,
        target: Option<&OsStr>,
    ) -> Result<Entry> {
        check_name(name)?;
        let upper = self.upper()?;
        let parent = self.node(parent)?;
        self.check_may_add(&parent)?;
        self.copy_up(&parent, Extent::Whole)?;
        let mut names = parent.dir()?.names.write();
        let site = self.site(upper, &parent, &names)?;
        if upper.layer.is_archive_name(name) {
            // It would be a whiteout.
            return Err(decided(Errno::INVAL));
        }
        let mut wanted = Wanted {
            kind,
            mode,
            uid: caller.uid,
            gid: caller.gid,
            rdev,
            target,
        };
        if !upper.layer.records.rule(kind) {
            // Where all owners are shown as one, the daemon owns the files that it makes on disk.
            let (uids, gids) = (&self.owners.uids, &self.owners.gids);
            wanted.uid = uids.stored(caller.uid).unwrap_or_else(own_uid);
            wanted.gid = gids.stored(caller.gid).unwrap_or_else(own_gid);
        }
        if upper.layer.records.keep_owners() {
            self.inherit_by_record(&site, caller, &mut wanted)?;
            plyfs_sys::thread::set_umask(0)?;
        } else {
            plyfs_sys::thread::set_umask(caller.umask)?;
        }
        let mut made = self.make(&site, &names, name, &wanted)?;
        if kind.is_dir()
            && !made.hides
            && !names.lowers.is_empty()
            && self.hide_what_comes_below(&site, name)
        {
            // The mark gave it another ctime.
            made.stat = None;
        }
        let name = Name::from(name);
        let entry = self.enter(&site, &mut names, &name, &made)?;
        if kind == FileKind::Regular
            && let Some(fd) = made.fd
        {
            let handle = Handle {
                fd: Arc::new(fd),
                writable: true,
            };
            self.fds.insert(Key::File(entry.id), handle);
        }
        Ok(entry)
    }

    /// Makes an object under a name, where there is nothing, or a whiteout.
    fn make(
        &self,
        site: &Site<'_>,
        names: &Names,
        name: &OsStr,
        wanted: &Wanted<'_>,
    ) -> Result<Made> {
        if !site.upper.layer.archive_names && !self.shows(names, name)? {
            // What the upper directory has, making it tells.
            match self.make_in_place(site, name, wanted) {
                Err(Errno::EXIST) => {}
                made => return made,
            }
        }
        match self.ground(site, names, name)? {
            Ground::Taken => Err(Errno::EXIST),
            Ground::Bare => self.make_in_place(site, name, wanted),
            ground @ (Ground::Whiteout | Ground::ArchiveWhiteout) => {
                self.make_over_whiteout(site, names, name, wanted, ground)
            }
        }
    }

    /// Makes another name for a file that is no directory (link(2)).
    ///
    /// # Errors
    /// `PERM` for a directory, `NOENT` for a file without any name left, and as
    /// [`mknod`](Self::mknod).
    pub fn link(&self, id: u64, parent: u64, name: &OsStr) -> Result<Entry> {
        check_name(name)?;
        let upper = self.upper()?;
        let (node, parent) = (self.node(id)?, self.node(parent)?);
        if node.kind.is_dir() {
            return Err(Errno::PERM);
        }
        if upper.layer.is_archive_name(name) {
            return Err(decided(Errno::INVAL));
        }
        self.check_may_add(&parent)?;
        self.check_unprotected(&node)?;
        self.copy_up(&parent, Extent::Whole)?;
        self.copy_up(&node, Extent::None)?;
        if node.is_metacopy() && !self.tie_all_names(upper, &node)? {
            self.copy_up(&node, Extent::Whole)?;
        }
        let mut names = parent.dir()?.names.write();
        let site = self.site(upper, &parent, &names)?;
        match self.ground(&site, &names, name)? {
            Ground::Taken => return Err(Errno::EXIST),
            Ground::Bare => self.link_to(&node, site.dir.as_fd(), name)?,
            ground => {
                let staged = upper.work.temp_name();
                self.link_to(&node, upper.work.dir(), &staged)?;
                publish_over(&site, &staged, name, FileKind::Regular, ground)?;
            }
        }
        if self.nodes.has_origin(node.id) || node.is_metacopy() {
            self.make_impure(upper, &parent, site.dir.as_fd());
        }
        if let Some(listing) = &mut names.listing {
            listing.insert(&Name::from(name), Known::Unresolved);
        }
        // By its records, which say that it is the same file.
        let (node, entry) = self.lookup_locked(&parent, &names, name)?;
        if let Some(listing) = &mut names.listing
            && let Some(number) = self.nodes.number(node.id)
        {
            listing.insert(&Name::from(name), Known::Object(number, node.kind));
        }
        Ok(entry)
    }

    /// Makes the data of a metacopy be found from whatever name it is given.
    fn tie_all_names(&self, upper: &Upper, node: &Arc<Node>) -> Result<bool> {
        let object = self.locate(node)?;
        let fd = self.fds.open(|| calls::open(object.at(), OFlags::PATH))?;
        drop(object);
        self.tie(upper, At::Fd(fd.as_fd()), node, true)
    }

    /// linkat(2) of a node's object.
    fn link_to(&self, node: &Node, dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        let object = self.locate(node)?;
        match object.at() {
            At::Name(from, old) => rustix::fs::linkat(from, old, dir, name, AtFlags::empty()),
            At::Fd(fd) => {
                let path = calls::proc_path(fd);
                let from = rustix::fs::CWD;
                rustix::fs::linkat(from, path, dir, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }

    /// The upper directory of a node whose namespace lock the caller holds.
    pub(crate) fn site<'s>(
        &self,
        upper: &'s Upper,
        parent: &'s Arc<Node>,
        names: &Names,
    ) -> Result<Site<'s>> {
        if names.removed {
            return Err(Errno::NOENT);
        }
        let dir = self.upper_dir(parent)?;
        Ok(Site { upper, parent, dir })
    }

    /// What is under a name. The caller holds the namespace lock.
    pub(crate) fn ground(&self, site: &Site<'_>, names: &Names, name: &OsStr) -> Result<Ground> {
        let above = self.ground_above(site, name)?;
        if above != Ground::Bare {
            return Ok(above);
        }
        let taken = self.shows(names, name)?;
        Ok(if taken { Ground::Taken } else { Ground::Bare })
    }

    /// Whether a directory shows a name that the upper directory does not have.
    fn shows(&self, names: &Names, name: &OsStr) -> Result<bool> {
        match self.listing_of(names) {
            Some(listing) => Ok(listing.contains(name)),
            None => self.lower_positive(names, name),
        }
    }

    /// What the upper directory has under a name.
    pub(crate) fn ground_above(&self, site: &Site<'_>, name: &OsStr) -> Result<Ground> {
        Ok(match self.upper_stat(site.dir.as_fd(), name)? {
            Some(stat) if is_whiteout(&stat) => Ground::Whiteout,
            Some(_) => Ground::Taken,
            None if site
                .upper
                .layer
                .has_archive_whiteout(site.dir.as_fd(), name)? =>
            {
                Ground::ArchiveWhiteout
            }
            None => Ground::Bare,
        })
    }

    fn make_in_place(&self, site: &Site<'_>, name: &OsStr, wanted: &Wanted<'_>) -> Result<Made> {
        let dir = site.dir.as_fd();
        let records = site.upper.layer.records;
        let made = self.fds.open(|| wanted.make(dir, name, records))?;
        let at = match &made {
            Some(fd) => At::Fd(fd.as_fd()),
            None => At::Name(dir, name.as_bytes()),
        };
        let owned = calls::stat(at).and_then(|stat| {
            if records.rule(wanted.kind) {
                new_object::write_record_of_new(at, wanted.record(&stat, records), records)?;
                // The record gave it another ctime.
                return Ok(None);
            }
            let keep_group = stat.stx_gid != wanted.gid && has_set_gid(dir)?;
            let changed = own(at, &stat, wanted, keep_group)?;
            Ok((!changed).then_some(stat))
        });
        match owned {
            // There was no whiteout, and the caller has seen that nothing shows.
            Ok(stat) => Ok(Made {
                fd: made,
                stat,
                source: Source::Upper,
                merged: false,
                hides: false,
            }),
            Err(error) => {
                new_object::undo(dir, name, wanted.kind);
                Err(error)
            }
        }
    }

    /// Makes a new directory opaque, so that no lookup goes on to lower ones, where the kernel
    /// does: with records that tie it to lower layers, these do not change. Returns whether it did.
    fn hide_what_comes_below(&self, site: &Site<'_>, name: &OsStr) -> bool {
        let tied = self.index().is_some() || self.metacopy || self.redirect_dir == RedirectDir::On;
        if !tied {
            return false;
        }
        let at = At::Name(site.dir.as_fd(), name.as_bytes());
        match site.upper.hide_below(at) {
            Ok(()) => {}
            // No directory of an upper layer without attributes is, and that is no fault of this one.
            Err(Errno::OPNOTSUPP) => return false,
            Err(errno) => log::debug!("a new directory is not opaque: {errno}"),
        }
        true
    }

    fn make_over_whiteout(
        &self,
        site: &Site<'_>,
        names: &Names,
        name: &OsStr,
        wanted: &Wanted<'_>,
        ground: Ground,
    ) -> Result<Made> {
        let work = &site.upper.work;
        let nursery = Nursery::open(site)?;
        let staged = work.temp_name();
        let made = self
            .fds
            .open(|| nursery.make(&staged, wanted, site))
            .and_then(|fd| {
                let at = At::Name(work.dir(), staged.as_bytes());
                let merged = wanted.kind.is_dir() && self.hide_lower(site, at, names, name)?;
                Ok((fd, merged))
            });
        if made.is_err() {
            work.discard(&staged);
        }
        nursery.close();
        let (fd, merged) = made?;
        publish_over(site, &staged, name, wanted.kind, ground)?;
        Ok(Made {
            fd,
            stat: None,
            source: Source::Unknown,
            merged,
            hides: wanted.kind.is_dir(),
        })
    }

    /// Settles the mode and group of a new file where no file system does it for us.
    fn inherit_by_record(
        &self,
        site: &Site<'_>,
        caller: &Caller,
        wanted: &mut Wanted<'_>,
    ) -> Result<()> {
        if wanted.kind != FileKind::Symlink {
            wanted.mode &= !caller.umask;
        }
        let parent = self.recorded_attr(site.parent)?;
        if parent.mode & S_ISGID != 0 {
            wanted.gid = parent.gid;
            if wanted.kind.is_dir() {
                wanted.mode |= S_ISGID;
            }
        }
        Ok(())
    }

    /// Takes its number from a removed directory that is still known, for one that is made over the same lower
    /// directories. The caller holds the namespace lock of their parent.
    fn part_from_removed(&self, number: ObjectId) {
        if let Some(node) = self.nodes.find(number)
            && !node.is_root()
            && node.place.read().parent.is_none()
        {
            self.nodes.rebind(&node, self.numbering.nameless(), false);
        }
    }

    /// The node for a name just made in the upper directory, with its attributes if they are known.
    fn enter(&self, site: &Site<'_>, names: &mut Names, name: &Name, made: &Made) -> Result<Entry> {
        let at = At::Name(site.dir.as_fd(), name.as_bytes());
        let stat = match made.stat {
            Some(stat) => stat,
            None => calls::stat(at)?,
        };
        let found = match made.merged {
            true => self
                .search(site.parent, names, name, Source::Unknown)?
                .ok_or_else(|| decided(Errno::IO))?,
            false => self.found_upper(at, &stat)?,
        };
        let number = found.number;
        if made.merged {
            self.part_from_removed(number);
        }
        let (node, attr) = self.node_of(site.parent, name.clone(), found)?;
        self.told_mtime(&node, attr.mtime);
        node.capability.set(false);
        node.protection.set(Protection::default());
        // No other thread knows the directory yet.
        if !made.merged
            && let Some(dir) = &node.dir
            && let Some(mut names) = dir.names.try_write()
        {
            names.listing = Some(Listing::new());
        }
        if let Some(listing) = &mut names.listing {
            listing.insert_from(name, Known::Object(number, attr.kind), made.source);
        }
        Ok(Entry { id: node.id, attr })
    }
}

/// Gives a new object to its owner, unless it is already theirs.
///
/// Returns whether something was to be changed.
fn own(at: At<'_>, stat: &Statx, wanted: &Wanted<'_>, keep_group: bool) -> Result<bool> {
    let uid = (stat.stx_uid != wanted.uid).then_some(wanted.uid);
    let gid = (stat.stx_gid != wanted.gid && !keep_group).then_some(wanted.gid);
    if uid.is_none() && gid.is_none() {
        return Ok(false);
    }
    match calls::chown(at, uid, gid) {
        // An ordinary user's daemon cannot give its files to a group of the caller that it is not
        // in itself; they are the user's own nevertheless.
        Err(Errno::PERM) if uid.is_none() => return Ok(false),
        other => other?,
    }
    let mode = u32::from(stat.stx_mode) & 0o7777;
    if mode & 0o6000 != 0 && wanted.kind != FileKind::Symlink {
        calls::chmod(at, mode)?;
    }
    Ok(true)
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn own_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

fn has_set_gid(dir: BorrowedFd<'_>) -> Result<bool> {
    Ok(u32::from(calls::stat_fd(dir)?.stx_mode) & S_ISGID != 0)
}

/// Moves a staged object to where a whiteout is.
fn publish_over(
    site: &Site<'_>,
    staged: &OsStr,
    name: &OsStr,
    kind: FileKind,
    ground: Ground,
) -> Result<()> {
    let work = &site.upper.work;
    let to = (site.dir.as_fd(), name);
    let moved = match ground {
        Ground::ArchiveWhiteout => work.publish(staged, to),
        _ if kind.is_dir() => work.replace_whiteout(staged, to),
        _ => work.replace(staged, to),
    };
    match moved {
        Ok(()) if ground == Ground::ArchiveWhiteout => remove_archive_whiteout(site, name),
        Ok(()) => {}
        Err(_) => work.discard(staged),
    }
    moved
}

/// Removes a whiteout in the form of a file. One that stays hides nothing of a name that is there.
fn remove_archive_whiteout(site: &Site<'_>, name: &OsStr) {
    let whiteout = [plyfs_format::whiteout::PREFIX, name.as_bytes()].concat();
    if let Err(errno) = rustix::fs::unlinkat(&site.dir, &*whiteout, AtFlags::empty()) {
        log::debug!("a whiteout of {} stays: {errno}", name.display());
    }
}

/// Where an object that is to replace a whiteout is made: the work directory, or a directory in it
/// that hands on the default ACL of the directory the object is for.
struct Nursery<'s> {
    upper: &'s Upper,
    inner: Option<(OsString, OwnedFd)>,
}

impl<'s> Nursery<'s> {
    fn open(site: &Site<'s>) -> Result<Self> {
        let upper = site.upper;
        let acl = match upper.layer.records.keep_owners() {
            true => None,
            false => xattr::get_all(At::Fd(site.dir.as_fd()), DEFAULT_ACL)?,
        };
        let Some(acl) = acl else {
            return Ok(Self { upper, inner: None });
        };
        let name = upper.work.temp_name();
        rustix::fs::mkdirat(upper.work.dir(), &name, Mode::RWXU)?;
        let dir = crate::layer::lower::open_dir(upper.work.dir(), &name)?;
        let nursery = Self {
            upper,
            inner: Some((name, dir)),
        };
        if let Some((_, dir)) = &nursery.inner {
            let at = At::Fd(dir.as_fd());
            if let Err(errno) = xattr::set(at, DEFAULT_ACL, &acl, XattrFlags::empty()) {
                nursery.close();
                return Err(errno);
            }
        }
        Ok(nursery)
    }

    /// Makes an object, complete, under a name in the work directory.
    fn make(&self, name: &OsStr, wanted: &Wanted<'_>, site: &Site<'_>) -> Result<Option<OwnedFd>> {
        let work = self.upper.work.dir();
        let records = self.upper.layer.records;
        let place = self.inner.as_ref().map_or(work, |(_, dir)| dir.as_fd());
        let made = wanted.make(place, name, records)?;
        if self.inner.is_some() {
            rustix::fs::renameat(place, name, work, name)?;
        }
        let at = At::Name(work, name.as_bytes());
        let stat = calls::stat(at)?;
        if records.rule(wanted.kind) {
            new_object::write_record_of_new(at, wanted.record(&stat, records), records)?;
        } else {
            adopt(at, &stat, wanted, site.dir.as_fd())?;
        }
        Ok(made)
    }

    fn close(&self) {
        if let Some((name, _)) = &self.inner {
            self.upper.work.discard(name);
        }
    }
}

/// Gives a staged object owner, group and set-gid bit as if it had been made in `parent`.
fn adopt(at: At<'_>, stat: &Statx, wanted: &Wanted<'_>, parent: BorrowedFd<'_>) -> Result<()> {
    let parent = calls::stat_fd(parent)?;
    if u32::from(parent.stx_mode) & S_ISGID == 0 {
        return own(at, stat, wanted, false).map(drop);
    }
    let wanted = Wanted {
        gid: parent.stx_gid,
        ..*wanted
    };
    own(at, stat, &wanted, false)?;
    let mode = u32::from(stat.stx_mode) & 0o7777;
    if wanted.kind.is_dir() {
        calls::chmod(at, mode | S_ISGID)?;
    }
    Ok(())
}

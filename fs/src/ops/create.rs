//! Making files and directories.
//!
//! Where nothing is in the way, a new object is made in the upper directory at once; the file system
//! below then applies what the directory asks for, set-gid and default ACL included. Where the upper
//! directory holds a whiteout of that name, the object is made in the work directory and takes the
//! whiteout's place in one rename, so that what the whiteout hides never shows.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::protattr::Protection;
use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::disk::calls;
use crate::disk::fd_cache::{Handle, Key};
use crate::error::{Errno, Result, decided};
use crate::inode::dir::Names;
use crate::inode::listing::{EntryInfo, FirstLayer, Listing};
use crate::layer::new_object::{self, NewObject};
use crate::layer::object_id::ObjectId;
use crate::layer::override_stat;
use crate::ops::lookup::check_name;
use crate::ops::over_whiteout::publish_over;
use crate::ops::staging_dir::{StagingDir, own};
use crate::ops::upper_parent::{NameState, UpperParent};
use crate::types::{Caller, Device, Entry, Extent, FileKind, Name, PERMISSIONS, S_ISGID};

/// What was made.
struct Made {
    /// A regular file, opened.
    fd: Option<OwnedFd>,
    /// The attributes of the object if they are known.
    stat: Option<Statx>,
    /// Where its name will be found first.
    source: FirstLayer,
    /// It is a directory that hides those below by whiteouts.
    merged: bool,
    /// It is a directory that hides what is below already.
    hides: bool,
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
        self.create(caller, parent, name, kind, mode & PERMISSIONS, rdev, None)
    }

    /// Makes a directory (mkdir(2)).
    ///
    /// # Errors
    /// As [`mknod`](Self::mknod).
    pub fn mkdir(&self, caller: &Caller, parent: u64, name: &OsStr, mode: u32) -> Result<Entry> {
        let (kind, mode) = (FileKind::Directory, mode & PERMISSIONS);
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
        let upper_parent = self.upper_parent(upper, &parent, &names)?;
        if upper.layer.is_archive_name(name) {
            // It would be a whiteout.
            return Err(decided(Errno::INVAL));
        }
        let mut wanted = NewObject {
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
            self.inherit_by_record(&upper_parent, caller, &mut wanted)?;
            plyfs_sys::thread::set_umask(0)?;
        } else {
            plyfs_sys::thread::set_umask(caller.umask)?;
        }
        let mut made = self.make(&upper_parent, &names, name, &wanted)?;
        if kind.is_dir()
            && !made.hides
            && !names.lowers.is_empty()
            && self.hide_what_comes_below(&upper_parent, name)
        {
            // The mark gave it another ctime.
            made.stat = None;
        }
        let name = Name::from(name);
        let entry = self.enter(&upper_parent, &mut names, &name, &made)?;
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
        upper_parent: &UpperParent<'_>,
        names: &Names,
        name: &OsStr,
        wanted: &NewObject<'_>,
    ) -> Result<Made> {
        if !upper_parent.upper.layer.archive_names && !self.shows(names, name)? {
            // What the upper directory has, making it tells.
            match self.make_in_place(upper_parent, name, wanted) {
                Err(Errno::EXIST) => {}
                made => return made,
            }
        }
        match self.name_state(upper_parent, names, name)? {
            NameState::Taken => Err(Errno::EXIST),
            NameState::Bare => self.make_in_place(upper_parent, name, wanted),
            name_state @ (NameState::Whiteout | NameState::ArchiveWhiteout) => {
                self.make_over_whiteout(upper_parent, names, name, wanted, name_state)
            }
        }
    }

    fn make_in_place(
        &self,
        upper_parent: &UpperParent<'_>,
        name: &OsStr,
        wanted: &NewObject<'_>,
    ) -> Result<Made> {
        let dir = upper_parent.dir.as_fd();
        let records = upper_parent.upper.layer.records;
        let made = self.fds.open(|| wanted.make(dir, name, records))?;
        let at = match &made {
            Some(fd) => At::Fd(fd.as_fd()),
            None => At::Name(dir, name.as_bytes()),
        };
        let owned = calls::stat(at).and_then(|stat| {
            if records.rule(wanted.kind) {
                override_stat::write_record_of_new(at, wanted.record(&stat, records), records)?;
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
                source: FirstLayer::Upper,
                merged: false,
                hides: false,
            }),
            Err(error) => {
                new_object::undo(dir, name, wanted.kind);
                Err(error)
            }
        }
    }

    fn make_over_whiteout(
        &self,
        upper_parent: &UpperParent<'_>,
        names: &Names,
        name: &OsStr,
        wanted: &NewObject<'_>,
        name_state: NameState,
    ) -> Result<Made> {
        let work = &upper_parent.upper.work;
        let staging_dir = StagingDir::open(upper_parent)?;
        let staged = work.temp_name();
        let made = self
            .fds
            .open(|| staging_dir.make(&staged, wanted, upper_parent))
            .and_then(|fd| {
                let at = At::Name(work.dir(), staged.as_bytes());
                let merged =
                    wanted.kind.is_dir() && self.hide_lower(upper_parent, at, names, name)?;
                Ok((fd, merged))
            });
        if made.is_err() {
            work.discard(&staged);
        }
        staging_dir.close();
        let (fd, merged) = made?;
        publish_over(upper_parent, &staged, name, wanted.kind, name_state)?;
        Ok(Made {
            fd,
            stat: None,
            source: FirstLayer::Unknown,
            merged,
            hides: wanted.kind.is_dir(),
        })
    }

    /// Settles the mode and group of a new file where no file system does it for us.
    fn inherit_by_record(
        &self,
        upper_parent: &UpperParent<'_>,
        caller: &Caller,
        wanted: &mut NewObject<'_>,
    ) -> Result<()> {
        if wanted.kind != FileKind::Symlink {
            wanted.mode &= !caller.umask;
        }
        let parent = self.recorded_attr(upper_parent.parent)?;
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
            self.nodes.rebind(&node, self.ino_mapper.nameless(), false);
        }
    }

    /// The node for a name just made in the upper directory, with its attributes if they are known.
    fn enter(
        &self,
        upper_parent: &UpperParent<'_>,
        names: &mut Names,
        name: &Name,
        made: &Made,
    ) -> Result<Entry> {
        let at = At::Name(upper_parent.dir.as_fd(), name.as_bytes());
        let stat = match made.stat {
            Some(stat) => stat,
            None => calls::stat(at)?,
        };
        let found = if made.merged {
            self.lookup_layers(upper_parent.parent, names, name, FirstLayer::Unknown)?
                .ok_or_else(|| decided(Errno::IO))?
        } else {
            self.found_upper(at, &stat)?
        };
        let number = found.number;
        if made.merged {
            self.part_from_removed(number);
        }
        let (node, attr) = self.node_of(upper_parent.parent, name.clone(), found)?;
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
            listing.insert_from(name, EntryInfo::Object(number, attr.kind), made.source);
        }
        Ok(Entry { id: node.id, attr })
    }
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

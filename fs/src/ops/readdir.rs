//! Listings: the names of a merged directory, merged once.
//!
//! The transport opens no directories, so a listing belongs to the directory and not to a reader.
//!
//! It is also made for lookups, which no program asked for: its time of last access is left
//! alone then, and changes when a program lists it, though the listing be in memory.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockUpgradableReadGuard;
use plyfs_format::names::Namespace;
use plyfs_format::whiteout::{self, ArchiveName};
use plyfs_sys::xattr::At;
use rustix::fs::{FileType, Mode, OFlags, RawDir};

use crate::Overlay;
use crate::config::override_stat_mode::Records;
use crate::disk::calls;
use crate::disk::remove_tree::for_each_entry;
use crate::error::{Errno, Result, decided};
use crate::inode::listing::{DOT, DOT_DOT, Known, Listed, Listing, Source};
use crate::inode::node::{Names, Node, Real};
use crate::layer::lower::Name;
use crate::layer::overlay_xattrs::is_attribute_whiteout;
use crate::ops::lookup::Entry;
use crate::types::FileKind;

/// One entry as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The number stat(2) shows for it.
    pub ino: u64,
    /// Where to continue after it.
    pub cookie: u64,
    /// Its type.
    pub kind: FileKind,
    /// Its name.
    pub name: Arc<OsStr>,
}

/// In seconds. Times of last access are not older after an access.
const DAY: i64 = 24 * 60 * 60;

/// The number that is listed for what cannot be looked up. No object has it.
pub(crate) const LOST: u64 = u64::MAX;

/// Lists a name of which no more is known, since one damaged file is not to hide all others in its
/// directory. A lookup gets the error.
fn lost(entry: &mut DirEntry, error: Errno) {
    log::debug!(
        "{} is listed, and cannot be looked up: {error}",
        entry.name.display()
    );
    (entry.ino, entry.kind) = (LOST, FileKind::Regular);
}

/// Whether a reader has room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The entry was taken.
    Taken,
    /// There was no room for the entry.
    Full,
}

/// Of which entries a reader wants more than what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Of all.
    All,
    /// Of directories. The entries end before the first that is none.
    Directories,
}

/// Puts layers' listings on top of each other.
struct Merge<'o> {
    overlay: &'o Overlay,
    listing: Listing,
    /// Names that a whiteout in a layer already read hides in the layers below.
    hidden: HashSet<Name>,
}

impl Merge<'_> {
    /// Adds the names of a directory below those already read.
    fn add(&mut self, dir: BorrowedFd<'_>, from: From) -> Result<()> {
        let in_upper = from.source == Source::Upper;
        let dir = self.overlay.open_reading(At::Name(dir, b"."), in_upper)?;
        let stat = calls::stat_fd(dir.as_fd())?;
        let device = calls::device_of(&stat);
        // Hidden below this directory, and not in it.
        let mut hidden_below = Vec::new();
        // Nothing that is already known can have a name of the first layer.
        let is_first = self.listing.is_empty() && self.hidden.is_empty();
        for_each_entry(dir.as_fd(), |name, kind, ino| {
            let os_name = OsStr::from_bytes(name.to_bytes());
            if from.archive_names && name.to_bytes().starts_with(whiteout::PREFIX) {
                if let ArchiveName::Whiteout(hidden) = ArchiveName::parse(name.to_bytes()) {
                    hidden_below.push(Name::from(OsStr::from_bytes(hidden)));
                }
                return Ok(());
            }
            if !is_first && self.is_decided_above(os_name) {
                return Ok(());
            }
            let shared = Name::from(os_name);
            let known = match classify(dir.as_fd(), name, kind, from.whiteouts)? {
                None => {
                    self.hidden.insert(shared);
                    return Ok(());
                }
                // A record may say that a regular file is something else.
                Some(FileKind::Regular) if from.records.are_believed() => Known::Unresolved,
                // It may have an origin, or show a directory that is under another name below.
                Some(_) if from.impure => Known::Unresolved,
                Some(kind) => Known::Object(self.overlay.numbering.object(device, ino), kind),
            };
            if self.listing.add_from(&shared, known, from.source).is_err() {
                // Only a directory that changes meanwhile lists a name twice.
                log::debug!("{} is listed twice by a layer", shared.display());
            }
            Ok(())
        })?;
        self.hidden.extend(hidden_below);
        Ok(())
    }

    /// Whether the layers above decide what a name shows.
    fn is_decided_above(&mut self, name: &OsStr) -> bool {
        if self.hidden.contains(name) {
            return true;
        }
        let Some(above) = self.listing.known(name) else {
            return false;
        };
        // A directory over another is merged with it, perhaps.
        if matches!(above, Known::Object(_, FileKind::Directory)) {
            self.listing.unresolve(name);
        }
        self.listing.cover(name);
        true
    }
}

/// What is known of a directory that is added to a listing.
struct From {
    records: Records,
    source: Source,
    /// What is in it may have an origin or a redirect.
    impure: bool,
    /// Whiteouts may be files.
    archive_names: bool,
    /// The namespace of the attribute that makes an empty file a whiteout, if there may be some.
    whiteouts: Option<Namespace>,
}

/// The kind of an entry; `None` for a whiteout.
fn classify(
    dir: BorrowedFd<'_>,
    name: &CStr,
    kind: FileType,
    whiteouts: Option<Namespace>,
) -> Result<Option<FileKind>> {
    Ok(Some(match kind {
        FileType::RegularFile => match whiteouts {
            Some(namespace) if is_empty_whiteout(dir, name, namespace)? => return Ok(None),
            _ => FileKind::Regular,
        },
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::BlockDevice => FileKind::Block,
        FileType::CharacterDevice | FileType::Unknown => {
            let stat = calls::stat_name(dir, name.to_bytes())?;
            if crate::layer::whiteout::is_whiteout(&stat) {
                return Ok(None);
            }
            FileKind::from_mode(u32::from(stat.stx_mode)).ok_or_else(|| decided(Errno::IO))?
        }
    }))
}

fn is_empty_whiteout(dir: BorrowedFd<'_>, name: &CStr, namespace: Namespace) -> Result<bool> {
    let size = calls::stat_name(dir, name.to_bytes())?.stx_size;
    Ok(size == 0 && is_attribute_whiteout(At::Name(dir, name.to_bytes()), namespace)?)
}

impl Overlay {
    /// Calls `take` with the entries of a directory that come after `cookie` (0 for all), until
    /// there is no more room or there are no more entries.
    ///
    /// # Errors
    /// `STALE` if the id is not known, `NOTDIR`, and those of reading the layers.
    pub fn readdir(
        &self,
        id: u64,
        cookie: u64,
        mut take: impl FnMut(&DirEntry) -> Room,
    ) -> Result<()> {
        let node = self.node(id)?;
        self.each_item(&node, cookie, |entry, known| {
            match known {
                None | Some(Known::Object(..)) => {}
                Some(Known::Unresolved) => match self.peek(&node, &entry.name) {
                    Ok((ino, kind)) => (entry.ino, entry.kind) = (ino, kind),
                    // Removed meanwhile, or a directory that is mounted in a second place.
                    Err(Errno::NOENT | Errno::STALE) => return Ok(Room::Taken),
                    Err(error) => lost(entry, error),
                },
            }
            Ok(take(entry))
        })
    }

    /// As [`readdir`](Self::readdir), with every entry but `.` and `..` looked up. An entry that was
    /// taken counts as looked up and is to be forgotten like any other. One that cannot be looked up
    /// comes without what would have been found. `wants` counts for the first entries (cookie 0).
    ///
    /// # Errors
    /// As [`readdir`](Self::readdir).
    pub fn readdir_plus(
        &self,
        id: u64,
        cookie: u64,
        wants: Wants,
        mut take: impl FnMut(&DirEntry, Option<&Entry>) -> Room,
    ) -> Result<()> {
        let node = self.node(id)?;
        // Later there might be none at all, which means that there are no more entries.
        let only_directories = wants == Wants::Directories && cookie == 0;
        self.each_item(&node, cookie, |entry, known| {
            match known {
                None => {
                    let itself = self.entry_of_dots(&node, entry.cookie)?;
                    return Ok(take(entry, Some(&itself)));
                }
                Some(Known::Object(_, kind)) if only_directories && !kind.is_dir() => {
                    return Ok(Room::Full);
                }
                Some(_) => {}
            }
            let found = match self.lookup_in(&node, &entry.name) {
                Ok((_, found)) => found,
                // Removed meanwhile, or a directory that is mounted in a second place.
                Err(Errno::NOENT | Errno::STALE) => return Ok(Room::Taken),
                Err(error) => {
                    lost(entry, error);
                    return Ok(take(entry, None));
                }
            };
            (entry.ino, entry.kind) = (found.attr.ino, found.attr.kind);
            let room = take(entry, Some(&found));
            if room == Room::Full {
                self.forget(found.id, 1);
            }
            Ok(room)
        })
    }

    /// Calls `f` with each entry after `cookie` and what the listing knows of it; nothing for `.`
    /// and `..`. No lock is held meanwhile.
    fn each_item(
        &self,
        node: &Arc<Node>,
        mut cookie: u64,
        mut f: impl FnMut(&mut DirEntry, Option<Known>) -> Result<Room>,
    ) -> Result<()> {
        if cookie == 0 {
            if let Err(errno) = self.note_access(node) {
                log::debug!("a directory keeps its time of last access: {errno}");
            }
            self.renew_listing(node)?;
        }
        for (dot, name) in [(DOT, "."), (DOT_DOT, "..")] {
            if cookie >= dot {
                continue;
            }
            let mut entry = DirEntry {
                ino: self.dots_node(node, dot).ino(),
                cookie: dot,
                kind: FileKind::Directory,
                name: Arc::from(OsStr::new(name)),
            };
            if f(&mut entry, None)? == Room::Full {
                return Ok(());
            }
            cookie = dot;
        }
        loop {
            let batch = self.with_listing(node, |listing| listing.after(cookie))?;
            if batch.is_empty() {
                return match cookie {
                    DOT_DOT => self.purify_if_empty(node),
                    _ => Ok(()),
                };
            }
            for item in batch {
                let (mut entry, known) = self.entry_of(&item);
                if f(&mut entry, Some(known))? == Room::Full {
                    return Ok(());
                }
                cookie = item.cookie;
            }
        }
    }

    /// Lets the upper directory of a node be read once, so that its time of last access changes as its
    /// file system does that, where it would by `relatime` (mount(8)).
    fn note_access(&self, node: &Arc<Node>) -> Result<()> {
        if !node.in_upper() {
            return Ok(());
        }
        let dir = self.upper_dir(node)?;
        let stat = calls::stat_fd(dir.as_fd())?;
        let [atime, mtime, ctime] = [stat.stx_atime, stat.stx_mtime, stat.stx_ctime]
            .map(|time| (time.tv_sec, time.tv_nsec));
        let is_recent = atime > mtime && atime > ctime;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs()).cast_signed();
        if is_recent && now - atime.0 < DAY {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&dir, c".", flags, Mode::empty());
        let dir: OwnedFd = self.fds.open(open)?;
        let mut buffer = [MaybeUninit::uninit(); 512];
        match RawDir::new(dir, &mut buffer).next() {
            Some(Err(errno)) => Err(errno),
            _ => Ok(()),
        }
    }

    /// The entry for an item, as far as the listing knows it.
    fn entry_of(&self, item: &Listed) -> (DirEntry, Known) {
        let mut entry = DirEntry {
            ino: 0,
            cookie: item.cookie,
            kind: FileKind::Regular,
            name: item.name.clone(),
        };
        let Known::Object(object, kind) = item.known else {
            return (entry, Known::Unresolved);
        };
        let node = self.nodes.find(object);
        match node.map(|node| node.ino()).or(object.derived()) {
            Some(ino) => {
                (entry.ino, entry.kind) = (ino, kind);
                (entry, item.known)
            }
            None => (entry, Known::Unresolved),
        }
    }

    /// The node that `.` or `..` stands for.
    fn dots_node(&self, node: &Arc<Node>, dot: u64) -> Arc<Node> {
        if dot == DOT {
            return node.clone();
        }
        let parent = node.place.read().parent.clone();
        parent.unwrap_or_else(|| node.clone())
    }

    fn entry_of_dots(&self, node: &Arc<Node>, dot: u64) -> Result<Entry> {
        let node = self.dots_node(node, dot);
        Ok(Entry {
            id: node.id,
            attr: self.attr(&node)?,
        })
    }

    /// Number and kind of a name, without keeping a node for it.
    fn peek(&self, node: &Arc<Node>, name: &Name) -> Result<(u64, FileKind)> {
        let (_, found) = self.lookup_in(node, name)?;
        self.forget(found.id, 1);
        Ok((found.attr.ino, found.attr.kind))
    }

    /// Calls `f` with the listing of a directory, which is made if it was not yet.
    fn with_listing<T>(&self, node: &Arc<Node>, f: impl FnOnce(&Listing) -> T) -> Result<T> {
        let dir = node.dir()?;
        if let Some(listing) = &dir.names.read().listing {
            return Ok(f(listing));
        }
        // Lookups go on while the layers are read; changes wait.
        let names = dir.names.upgradable_read();
        if let Some(listing) = &names.listing {
            return Ok(f(listing));
        }
        let listing = self.merge(node, &names)?;
        let result = f(&listing);
        RwLockUpgradableReadGuard::upgrade(names).listing = Some(listing);
        Ok(result)
    }

    /// Makes the listing of a directory, if that does not take long.
    pub(crate) fn list_if_small(&self, node: &Arc<Node>) {
        const SMALL: u64 = 256 << 10;
        match self.size_in_layers(node) {
            Ok(size) if size <= SMALL => {}
            _ => return,
        }
        if let Err(errno) = self.with_listing(node, |_| ()) {
            log::debug!("a directory is not listed: {errno}");
        }
    }

    /// The sizes of a directory in all its layers, in bytes: a measure of how much there is to read.
    fn size_in_layers(&self, node: &Arc<Node>) -> Result<u64> {
        let mut dirs = Vec::new();
        if matches!(node.place.read().real, Real::Upper) {
            dirs.push(self.upper_dir(node)?);
        }
        for lower in &node.dir()?.names.read().lowers {
            dirs.push(lower.open(&self.lowers, &self.fds)?);
        }
        dirs.iter()
            .map(|dir| Ok(calls::stat_fd(dir.as_fd())?.stx_size))
            .sum()
    }

    /// The names a directory shows.
    pub(crate) fn names_of(&self, node: &Arc<Node>) -> Result<Vec<Name>> {
        self.renew_listing(node)?;
        self.with_listing(node, Listing::names)
    }

    /// As [`names_of`](Self::names_of), for a caller that holds the namespace lock.
    pub(crate) fn names_of_locked(&self, node: &Arc<Node>, names: &mut Names) -> Result<Vec<Name>> {
        Ok(self.list_locked(node, names)?.names())
    }

    /// Whether a directory shows no name. The caller holds its namespace lock.
    pub(crate) fn is_empty(&self, node: &Arc<Node>, names: &mut Names) -> Result<bool> {
        Ok(self.list_locked(node, names)?.is_empty())
    }

    /// The listing of a directory. The caller holds its namespace lock.
    pub(crate) fn list_locked<'n>(
        &self,
        node: &Arc<Node>,
        names: &'n mut Names,
    ) -> Result<&'n Listing> {
        let fresh = match names.listing.is_none() || self.lowers_change {
            true => Some(self.merge(node, names)?),
            false => None,
        };
        let listing = names.listing.get_or_insert_with(Listing::new);
        if let Some(fresh) = fresh {
            listing.renew(fresh);
        }
        Ok(listing)
    }

    /// Reads a directory in all its layers.
    fn merge(&self, node: &Arc<Node>, names: &Names) -> Result<Listing> {
        let mut merge = Merge {
            overlay: self,
            listing: Listing::new(),
            hidden: HashSet::new(),
        };
        if names.removed {
            return Ok(merge.listing);
        }
        // Read before opening, which takes the same lock.
        let in_upper = matches!(node.place.read().real, Real::Upper);
        if in_upper && let Some(upper) = &self.upper {
            let dir = self.upper_dir(node)?;
            let from = From {
                records: upper.layer.records,
                source: Source::Upper,
                impure: self.is_impure(node, dir.as_fd()),
                archive_names: upper.layer.archive_names,
                whiteouts: None,
            };
            merge.add(dir.as_fd(), from)?;
        }
        for lower in &names.lowers {
            let dir = lower.open(&self.lowers, &self.fds)?;
            let layer = &self.lowers[usize::from(lower.layer)];
            let from = From {
                records: layer.records,
                source: Source::Lower(lower.layer),
                impure: false,
                archive_names: layer.archive_names,
                whiteouts: lower.whiteouts.then_some(self.namespace),
            };
            merge.add(dir.as_fd(), from)?;
        }
        merge.listing.complete();
        Ok(merge.listing)
    }
}

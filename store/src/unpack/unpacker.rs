//! The unpacking of one archive, entry by entry.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use plyfs_format::whiteout::ArchiveName;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::fault::Result;
use super::path::EntryPath;
use super::pending::Pending;
use super::place::Place;
use super::policy::Policy;
use crate::disk::Tree;
use crate::error::{EntryFault, LayerFault};
use crate::tar::{Entry, Input, Kind, Reader};
use crate::values::{LayerFacts, Ownership};

/// Unpacks an archive into an empty directory, to the end of the stream.
///
/// The calling thread must have a file creation mask of zero.
pub(crate) fn unpack<I: Input>(
    reader: &mut Reader<I>,
    root: OwnedFd,
    policy: Policy,
    max_entries: u64,
) -> std::result::Result<LayerFacts, LayerFault> {
    let mut unpacker = Unpacker {
        tree: Tree::new(root),
        policy,
        pending: Pending::default(),
        facts: LayerFacts::default(),
    };
    while let Some(entry) = reader.next()? {
        unpacker.facts.entries += 1;
        if unpacker.facts.entries > max_entries {
            return Err(LayerFault::TooManyEntries { limit: max_entries });
        }
        if let Err(fault) = unpacker.entry(&entry, reader) {
            let name = entry.path;
            return Err(LayerFault::Entry { name, fault });
        }
        if unpacker.pending.is_too_large() {
            return Err(LayerFault::TooManyDirectories);
        }
    }
    unpacker.finish()
}

pub(super) struct Unpacker {
    pub(super) tree: Tree,
    pub(super) policy: Policy,
    pub(super) pending: Pending,
    pub(super) facts: LayerFacts,
}

/// Where AUFS kept files with several names. The layer has them as links to what is in here.
const PLINKS: &[u8] = b".wh..wh.plnk";

/// Whether an entry is a file that only links name. It is made like every other, and the directory
/// goes in the end.
pub(super) fn is_plink(path: &EntryPath, entry: &Entry) -> bool {
    path.parent() == PLINKS
        && entry.kind == Kind::File
        && ArchiveName::parse(path.name()) == ArchiveName::Plain
}

impl Unpacker {
    /// Removes the directory of AUFS; its files stay under their other names.
    pub(super) fn remove_plinks(&mut self) -> Result<()> {
        if self.tree.open(PLINKS).is_err() {
            return Ok(());
        }
        let dir = self.tree.root();
        let path = EntryPath::parse(PLINKS)?;
        self.clear(&Place { dir, path: &path })
    }

    pub(super) fn entry<I: Input>(&mut self, entry: &Entry, reader: &mut Reader<I>) -> Result<()> {
        let path = EntryPath::parse(&entry.path)?;
        if path.is_root() {
            return self.root(entry);
        }
        match path.reserved_parent() {
            Some(ArchiveName::Meta) if is_plink(&path, entry) => {
                let dir = self.make_parents(path.parent())?;
                return self.file(&Place { dir, path: &path }, entry, reader);
            }
            Some(ArchiveName::Meta) => return Ok(()),
            Some(_) => return Err(EntryFault::Whiteout),
            None => {}
        }
        match ArchiveName::parse(path.name()) {
            ArchiveName::Plain => {}
            ArchiveName::Whiteout(hidden) => return self.whiteout(&path.sibling(hidden)),
            ArchiveName::Opaque => return self.opaque(path.parent()),
            ArchiveName::Meta => return Ok(()),
            ArchiveName::Malformed => return Err(EntryFault::Whiteout),
        }
        if entry.kind == Kind::Char(0, 0) {
            return self.whiteout(&path);
        }
        let (dir, path) = self.place(path)?;
        let place = Place { dir, path: &path };
        match entry.kind {
            Kind::Dir => self.directory(&place, entry),
            Kind::File => self.file(&place, entry, reader),
            Kind::Symlink => self.symlink(&place, entry),
            Kind::Link => self.hard_link(&place, entry),
            Kind::Char(..) | Kind::Block(..) | Kind::Fifo => self.special(&place, entry),
        }
    }

    /// The directory that an entry goes to, made if it is missing, and its path without links of the
    /// layer.
    pub(super) fn place(&mut self, path: EntryPath) -> Result<(Rc<OwnedFd>, EntryPath)> {
        if let Ok(dir) = self.tree.open(path.parent()) {
            return Ok((dir, path));
        }
        let path = self.real_path(path)?;
        let dir = match self.tree.open(path.parent()) {
            Ok(dir) => dir,
            Err(_) => self.make_parents(path.parent())?,
        };
        Ok((dir, path))
    }

    /// The same path with the links of the layer followed that lead to its directory.
    pub(super) fn real_path(&mut self, path: EntryPath) -> Result<EntryPath> {
        let parent = self.resolve(path.parent())?;
        if parent == path.parent() {
            return Ok(path);
        }
        let path = EntryPath::parse(&[&parent, b"/".as_slice(), path.name()].concat())?;
        match path.reserved_parent() {
            None => Ok(path),
            Some(_) => Err(EntryFault::Whiteout),
        }
    }

    /// Makes something, and if its name is taken, removes what has it first.
    pub(super) fn make<T>(
        &mut self,
        place: &Place<'_>,
        action: &'static str,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T> {
        let made = match make() {
            Err(Errno::EXIST) => {
                self.clear(place)?;
                make()
            }
            made => made,
        };
        made.map_err(EntryFault::system(action))
    }

    /// Removes what has this name in the layer, a directory with everything in it.
    pub(super) fn clear(&mut self, place: &Place<'_>) -> Result<()> {
        let failed = EntryFault::system("replace what was there");
        let Some(stat) = place.stat()? else {
            return Ok(());
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let unlinked = rustix::fs::unlinkat(place.dir(), place.name(), AtFlags::empty());
            return unlinked.map_err(failed);
        }
        self.tree.forget(place.path.path());
        self.pending.forget(place.path.path());
        let name = std::ffi::CString::new(place.name()).map_err(|_| EntryFault::EmptyName)?;
        crate::disk::remove_tree(place.dir(), &name).map_err(failed)
    }

    /// Makes an empty regular file that is written through its descriptor.
    pub(super) fn create(&mut self, place: &Place<'_>, mode: u32) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        self.make(place, "create it", || {
            rustix::fs::openat(place.dir(), place.path.name(), flags, mode)
        })
    }

    pub(super) fn is_override(&self) -> bool {
        self.policy.ownership == Ownership::Override
    }
}

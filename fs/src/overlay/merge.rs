//! Listings: the names of a merged directory, merged once.
//!
//! The transport opens no directories, so a listing belongs to the directory and not to a reader.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockUpgradableReadGuard;
use plyfs_format::names::Namespace;
use plyfs_format::whiteout::{self, ArchiveName};
use plyfs_sys::xattr::At;
use rustix::fs::FileType;

use crate::Overlay;
use crate::config::override_stat_mode::OverrideStatMode;
use crate::disk::calls;
use crate::disk::dirents::for_each_entry;
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Backing;
use crate::inode::dir::Names;
use crate::inode::listing::{EntryInfo, FirstLayer, Listing};
use crate::inode::node::Node;
use crate::layer::whiteout::is_attribute_whiteout;
use crate::types::{FileKind, Name};

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
        let in_upper = from.source == FirstLayer::Upper;
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
                Some(FileKind::Regular) if from.records.are_believed() => EntryInfo::Unresolved,
                // It may have an origin, or show a directory that is under another name below.
                Some(_) if from.impure => EntryInfo::Unresolved,
                Some(kind) => EntryInfo::Object(self.overlay.ino_mapper.object(device, ino), kind),
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
        if matches!(above, EntryInfo::Object(_, FileKind::Directory)) {
            self.listing.unresolve(name);
        }
        self.listing.cover(name);
        true
    }
}

/// What is known of a directory that is added to a listing.
pub(crate) struct From {
    records: OverrideStatMode,
    source: FirstLayer,
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
    /// Calls `f` with the listing of a directory, which is made if it was not yet.
    pub(crate) fn with_listing<T>(
        &self,
        node: &Arc<Node>,
        f: impl FnOnce(&Listing) -> T,
    ) -> Result<T> {
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
        if matches!(node.place.read().backing, Backing::Upper) {
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
    pub(super) fn list_locked<'n>(
        &self,
        node: &Arc<Node>,
        names: &'n mut Names,
    ) -> Result<&'n Listing> {
        let fresh = if names.listing.is_none() || self.lowers_change {
            Some(self.merge(node, names)?)
        } else {
            None
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
        let in_upper = matches!(node.place.read().backing, Backing::Upper);
        if in_upper && let Some(upper) = &self.upper {
            let dir = self.upper_dir(node)?;
            let from = From {
                records: upper.layer.records,
                source: FirstLayer::Upper,
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
                source: FirstLayer::Lower(lower.layer),
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

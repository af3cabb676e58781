//! Lookup: what a name in a merged directory stands for.
//!
//! The layers are searched from the top. A whiteout ends the search with nothing, a file ends it
//! with that file, and a directory is joined with the directories of the same name below it, down
//! to the first that is opaque or no directory.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::attr::{Attr, FileKind};
use crate::error::{Errno, Result};
use crate::inode::{Names, Node, Place, Real};
use crate::layer::{LowerDir, Name};
use crate::nodes::Identity;
use crate::number::ObjectId;
use crate::object::{device_of, stat_name, stat_of_absent};
use crate::whiteout::{is_opaque, is_whiteout};

/// The longest name of a file, in bytes (`NAME_MAX`).
pub(crate) const NAME_MAX: usize = 255;

/// What a lookup found. It counts as one lookup of the node, to be taken back with
/// [`Overlay::forget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The node.
    pub id: u64,
    /// Its attributes.
    pub attr: Attr,
}

/// What the layers hold under a name.
pub(crate) struct Found {
    /// Where the topmost object is.
    pub(crate) real: Real,
    pub(crate) attr: Attr,
    /// The object that the node's number comes from: the topmost lower directory of a merged one,
    /// which stays when it is copied up; otherwise the object itself.
    pub(crate) identity: Statx,
    pub(crate) lowers: Vec<Arc<LowerDir>>,
}

/// Checks a name that a caller gave.
///
/// # Errors
/// `NAMETOOLONG`, and `INVAL` for what can be no name of a file.
pub(crate) fn check_name(name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    if bytes.len() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

impl Overlay {
    /// Finds a name in a directory.
    ///
    /// # Errors
    /// `NOENT` if there is no such name, `NOTDIR`, `STALE` if the id is not known, and those of the
    /// layers' file systems.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Entry> {
        check_name(name)?;
        let parent = self.node(parent)?;
        Ok(self.lookup_in(&parent, name)?.1)
    }

    /// As [`lookup`](Self::lookup), with the node.
    pub(crate) fn lookup_in(&self, parent: &Arc<Node>, name: &OsStr) -> Result<(Arc<Node>, Entry)> {
        let names = parent.dir()?.names.read();
        self.lookup_locked(parent, &names, name)
    }

    /// As [`lookup_in`](Self::lookup_in), for who holds the namespace lock.
    pub(crate) fn lookup_locked(
        &self,
        parent: &Arc<Node>,
        names: &Names,
        name: &OsStr,
    ) -> Result<(Arc<Node>, Entry)> {
        if names.removed {
            return Err(Errno::NOENT);
        }
        let name = Name::from(name);
        let found = self.search(parent, &name)?.ok_or(Errno::NOENT)?;
        let (node, attr) = self.node_of(parent, name, found)?;
        let entry = Entry { id: node.id, attr };
        Ok((node, entry))
    }

    /// Searches the layers for a name. `None` if no layer has it, or a whiteout hides it.
    fn search(&self, parent: &Arc<Node>, name: &Name) -> Result<Option<Found>> {
        let lowers = &parent.dir()?.lowers;
        let top = match self.search_upper(parent, name)? {
            Step::Nothing => None,
            Step::Found(found) => Some(found),
            Step::Ends(found) => return Ok(found),
        };
        self.search_lowers(lowers, name, top)
    }

    fn search_upper(&self, parent: &Arc<Node>, name: &Name) -> Result<Step> {
        let Some(upper) = self.upper.as_ref().filter(|_| parent.in_upper()) else {
            return Ok(Step::Nothing);
        };
        let dir = self.upper_dir(parent)?;
        let Some(stat) = self.upper_stat(dir.as_fd(), name)? else {
            return Ok(Step::Nothing);
        };
        if is_whiteout(&stat) {
            return Ok(Step::Ends(None));
        }
        let at = At::Name(dir.as_fd(), name.as_bytes());
        let found = Found {
            real: Real::Upper,
            attr: self.attr_of(at, &stat, upper.layer.records)?,
            identity: stat,
            lowers: Vec::new(),
        };
        let merges = found.attr.kind.is_dir() && !parent.dir()?.lowers.is_empty();
        Ok(if merges && !is_opaque(at)? {
            Step::Found(found)
        } else {
            Step::Ends(Some(found))
        })
    }

    fn search_lowers(
        &self,
        lowers: &[Arc<LowerDir>],
        name: &Name,
        mut found: Option<Found>,
    ) -> Result<Option<Found>> {
        for (i, lower) in lowers.iter().enumerate() {
            let dir = lower.open(&self.lowers, &self.fds)?;
            let at = At::Name(dir.as_fd(), name.as_bytes());
            let stat = match stat_of_absent(stat_name(dir.as_fd(), name.as_bytes()))? {
                None => continue,
                Some(stat) if is_whiteout(&stat) => break,
                Some(stat) => stat,
            };
            let layer = &self.lowers[usize::from(lower.layer)];
            let is_dir = FileKind::from_mode(u32::from(stat.stx_mode)) == Some(FileKind::Directory);
            if !is_dir {
                // Below a directory, a file is hidden with everything under it.
                return match found {
                    Some(_) => Ok(found),
                    None => Ok(Some(Found {
                        real: Real::Lower(lower.clone()),
                        attr: self.attr_of(at, &stat, layer.records)?,
                        identity: stat,
                        lowers: Vec::new(),
                    })),
                };
            }
            let child = LowerDir::child(lower, name);
            match &mut found {
                Some(found) => {
                    if found.lowers.is_empty() {
                        found.identity = stat;
                    }
                    found.lowers.push(child);
                }
                None => {
                    found = Some(Found {
                        real: Real::Lower(child.clone()),
                        attr: self.attr_of(at, &stat, layer.records)?,
                        identity: stat,
                        lowers: vec![child],
                    });
                }
            }
            let last = i + 1 == lowers.len();
            if !last && layer.opaque && is_opaque(at)? {
                break;
            }
        }
        Ok(found)
    }

    /// The identity of an object.
    pub(crate) fn object_of(&self, stat: &Statx) -> ObjectId {
        self.numbering.object(device_of(stat), stat.stx_ino)
    }

    /// The node for what was found, counted as looked up.
    pub(crate) fn node_of(
        &self,
        parent: &Arc<Node>,
        name: Name,
        found: Found,
    ) -> Result<(Arc<Node>, Attr)> {
        let Found {
            real,
            mut attr,
            identity,
            lowers,
        } = found;
        let object = self.object_of(&identity);
        let in_upper = matches!(real, Real::Upper);
        // Whether a copy-up may part this name from others of the same file.
        let may_part =
            !in_upper && self.upper.is_some() && !attr.kind.is_dir() && identity.stx_nlink > 1;
        let identity = match may_part {
            true => Identity::Link(object, parent.id, name.clone()),
            false => Identity::Object(object),
        };
        let place = || Place {
            parent: Some(parent.clone()),
            name: name.clone(),
            real: real.clone(),
        };
        let node = self.nodes.obtain(identity, |id| {
            let ino = object.derived().unwrap_or(id);
            Node::new(id, ino, attr.kind, place(), lowers)
        });
        if let Err(error) = self.settle(&node, parent, &name, attr.kind, &real) {
            self.forget(node.id, 1);
            return Err(error);
        }
        node.adapt(&mut attr, in_upper);
        Ok((node, attr))
    }

    /// Makes sure that a node, which may have been known before, fits where its object was found.
    ///
    /// # Errors
    /// `STALE` if the layers were changed so that it does not: a directory has one place.
    fn settle(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &Name,
        kind: FileKind,
        real: &Real,
    ) -> Result<()> {
        if node.kind != kind {
            return Err(Errno::STALE);
        }
        {
            let place = node.place.read();
            if place.is_at(parent, name) {
                return Ok(());
            }
            if kind.is_dir() {
                return Err(Errno::STALE);
            }
            if place.parent.is_some() {
                return Ok(());
            }
        }
        // The name we knew a hard link by was removed; this is another of its names.
        let mut place = node.place.write();
        if place.parent.is_none() {
            place.set_parent(Some(parent.clone()));
            place.name = name.clone();
            place.real = real.clone();
        }
        Ok(())
    }
}

/// What a layer says of a name.
enum Step {
    /// Nothing: the layers below are asked.
    Nothing,
    /// A directory, which those of the layers below are joined to.
    Found(Found),
    /// The search is over.
    Ends(Option<Found>),
}

//! Where the object of a node is.
//!
//! An object is a name below a directory descriptor, or a descriptor of its own where it has no name any more.
//! [`ObjectRef`] holds the one or the other together with the node's place lock, so that the name stays right for
//! as long as it is used. It is for quick calls only: the lock is held.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;
use plyfs_sys::xattr::At;
use rustix::fs::Statx;

use crate::Overlay;
use crate::config::XattrTrust;
use crate::config::override_stat_mode::OverrideStatMode;
use crate::disk::calls::{open_dir, stat_name, stat_of_absent};
use crate::disk::fd_cache::{Handle, Key};
use crate::error::{Errno, Result, decided};
use crate::inode::backing::Backing;
use crate::inode::node::{Node, Place};
use crate::layer::lower_dir::LowerFile;
use crate::layer::xattr_names::Naming;
use crate::types::Name;

/// The object of a node, while its place stays as it is.
pub(crate) struct ObjectRef<'n> {
    pub(crate) place: RwLockReadGuard<'n, Place>,
    fd: Arc<OwnedFd>,
    /// Its name in the directory `fd`; without one `fd` is the object itself.
    name: Option<Name>,
    /// Whether the object is in the upper layer.
    pub(crate) in_upper: bool,
    /// Which files of its layer may carry records.
    pub(crate) records: OverrideStatMode,
    /// Which records of overlays count in its layer.
    pub(crate) marks: XattrTrust,
    /// The mount that its layer is of. See [`Layer::mount`](crate::layer::lower::Layer).
    pub(crate) mount: u64,
}

impl ObjectRef<'_> {
    pub(crate) fn at(&self) -> At<'_> {
        match &self.name {
            Some(name) => At::Name(self.fd.as_fd(), name.as_bytes()),
            None => At::Fd(self.fd.as_fd()),
        }
    }

    /// Where the data of a metacopy is.
    pub(crate) fn metacopy_data(&self) -> Option<LowerFile> {
        self.place.lower_link.data().cloned()
    }

    /// The object as a file of a lower layer, if it is one.
    pub(crate) fn lower_file(&self) -> Option<LowerFile> {
        let name = self.place.name.clone();
        match &self.place.backing {
            Backing::Lower(dir) if self.name.is_some() => Some(LowerFile {
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

impl Overlay {
    /// The object of a node.
    ///
    /// # Errors
    /// Those of opening the directories that lead to it.
    pub(crate) fn locate<'n>(&self, node: &'n Node) -> Result<ObjectRef<'n>> {
        let place = node.place.read();
        let upper = || self.upper.as_ref().ok_or_else(|| decided(Errno::STALE));
        let (fd, name, layer) = match (&place.backing, &place.parent) {
            (Backing::Upper, None) if node.is_root() => {
                let layer = &upper()?.layer;
                (layer.root.clone(), None, layer)
            }
            // Forgotten while it was used: where it is was forgotten with it.
            (Backing::Upper, None) => return Err(decided(Errno::STALE)),
            (Backing::Upper, Some(parent)) => {
                let name = Some(place.name.clone());
                (self.upper_dir(parent)?, name, &upper()?.layer)
            }
            (Backing::Index(name), _) => {
                let index = self.index().ok_or_else(|| decided(Errno::STALE))?;
                (
                    index.dir().clone(),
                    Some(Name::clone(name)),
                    &upper()?.layer,
                )
            }
            (Backing::Lower(lower), _) => {
                let layer = &self.lowers[usize::from(lower.layer)];
                let fd = lower.open(&self.lowers, &self.fds)?;
                let name = (!node.kind.is_dir()).then(|| place.name.clone());
                (fd, name, layer)
            }
            (Backing::Orphan(kept), _) => (kept.fd.clone(), None, &upper()?.layer),
        };
        Ok(ObjectRef {
            in_upper: !matches!(place.backing, Backing::Lower(_)),
            place,
            fd,
            name,
            records: layer.records,
            marks: layer.marks,
            mount: layer.mount,
        })
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
            let (backing, parent) = (place.backing.clone(), place.parent.clone());
            drop(place);
            match (backing, parent) {
                (Backing::Orphan(kept), _) => {
                    let fd = kept.fd.clone();
                    return Ok(Descent { fd, node, below });
                }
                (Backing::Upper, Some(parent)) => below.push(std::mem::replace(&mut node, parent)),
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
            if !place.is_in(above) || !matches!(place.backing, Backing::Upper) {
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

    /// How the attributes of an object are named.
    pub(crate) fn naming(&self, object: &ObjectRef<'_>) -> Naming {
        Naming {
            records: object.records,
            marks: object.marks,
            namespace: self.namespace,
        }
    }
}

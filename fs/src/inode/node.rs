//! Nodes: what the overlay remembers of a file while the kernel knows it.
//!
//! A [`Node`] is one file of the merged tree. It has an id, a kind and a [`Place`]: its parent, its
//! name there, and in which layer its object is now. The object of a file moves once in its life,
//! from a lower layer to the upper, when it is copied up; the node stays the same, so that a thread that
//! has it open sees what is written afterwards.
//!
//! # Locks
//!
//! There is no global lock. Every directory has a namespace lock ([`Dir::names`](super::dir::Dir::names)) and every node a
//! place lock; they are taken in this order, and released as soon as the names or the place need
//! not stay as they are:
//!
//! 1. `Node::copy_up`, one node at a time and a child before its parent;
//! 2. the overlay's rename lock, for a rename from one directory to another;
//! 3. namespace locks, several only through [`lock_names`](super::locks::lock_names), which sorts them by node id;
//! 4. `Node::place`, a child before its ancestors. A thread that holds one for writing takes no other,
//!    but for rename, which takes those of the two files it moves in the order of their ids
//!    ([`lock_places`](super::locks::lock_places)).
//!
//! `Node::times` is taken by itself, with none of these but the place: before it, never by a thread that holds it.
//!
//! The lock of what unlinked files take ([`unlinked`](super::unlinked)) is the last of all; nothing else is held while waiting with it.
//!
//! A lookup reads names under the namespace lock of its directory; a change of what a name
//! stands for (create, unlink, rename, publishing a copy-up) holds it for writing, for the few
//! system calls of that change. Copying data and fsync happen under `copy_up` alone.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::error::{Errno, Result};
use crate::inode::backing::{Backing, LowerLink};
use crate::inode::dir::{Dir, Maybe};
use crate::inode::protection::KnownProtection;
use crate::inode::told_mtime::ToldMtime;
use crate::layer::lower_dir::LowerDir;
use crate::types::{Extent, FileKind, Name, ROOT_ID};

/// One file of the merged tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    /// `st_ino`. Changes only when one of several names of a lower file is copied up.
    pub(crate) ino: AtomicU64,
    pub(crate) kind: FileKind,
    /// How often it was given out by a lookup and not forgotten since. Changed under the lock of
    /// the node table.
    pub(super) lookups: AtomicU64,
    /// How many nodes have it as the parent of their place. It stays known as long as there are any.
    pub(super) children: AtomicU32,
    pub(crate) place: RwLock<Place>,
    /// Held while the node is copied up.
    pub(crate) copy_up: Mutex<()>,
    /// Held while its times are set, or data is written that was gathered.
    pub(crate) times: Mutex<Option<ToldMtime>>,
    /// Whether it may have capabilities in a record.
    pub(crate) capability: Maybe,
    /// Whether it is immutable or append-only.
    pub(crate) protection: KnownProtection,
    /// What a directory has besides.
    pub(crate) dir: Option<Box<Dir>>,
}

/// Where a node is.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory that holds it; `None` for the root, and for what was removed.
    pub(crate) parent: Option<Arc<Node>>,
    pub(crate) name: Name,
    pub(crate) backing: Backing,
    /// What few nodes have.
    pub(crate) lower_link: LowerLink,
}

impl Node {
    /// A node that was not looked up yet.
    pub(crate) fn new(
        id: u64,
        ino: u64,
        kind: FileKind,
        place: Place,
        lowers: Vec<Arc<LowerDir>>,
    ) -> Arc<Self> {
        if let Some(parent) = &place.parent {
            parent.children.fetch_add(1, Ordering::Relaxed);
        }
        let dir = kind.is_dir().then(|| Box::new(Dir::new(lowers)));
        Arc::new(Self {
            id,
            ino: AtomicU64::new(ino),
            kind,
            lookups: AtomicU64::new(0),
            children: AtomicU32::new(0),
            place: RwLock::new(place),
            copy_up: Mutex::new(()),
            times: Mutex::new(None),
            capability: Maybe::default(),
            protection: KnownProtection::default(),
            dir,
        })
    }

    /// `st_ino`.
    pub(crate) fn ino(&self) -> u64 {
        self.ino.load(Ordering::Relaxed)
    }

    /// Whether it is the root of the mount.
    pub(crate) fn is_root(&self) -> bool {
        self.id == ROOT_ID
    }

    /// The directory part.
    ///
    /// # Errors
    /// `NOTDIR` if it is no directory.
    pub(crate) fn dir(&self) -> Result<&Dir> {
        self.dir.as_deref().ok_or(Errno::NOTDIR)
    }

    /// Whether its object is in the upper layer.
    pub(crate) fn in_upper(&self) -> bool {
        !matches!(self.place.read().backing, Backing::Lower(_))
    }

    /// Whether as much of it as that is in the upper layer.
    pub(crate) fn is_copied(&self, extent: Extent) -> bool {
        let place = self.place.read();
        !matches!(place.backing, Backing::Lower(_))
            && (extent == Extent::None || place.lower_link.data().is_none())
    }

    /// Whether it is a regular file whose data is in a layer below.
    pub(crate) fn is_metacopy(&self) -> bool {
        self.kind == FileKind::Regular && self.place.read().lower_link.data().is_some()
    }

    /// Whether it is a directory made of more than one.
    pub(crate) fn is_merged(&self, in_upper: bool) -> bool {
        self.dir
            .as_ref()
            .is_some_and(|dir| dir.lower_count() + usize::from(in_upper) > 1)
    }

    /// Whether it is a directory that shows lower ones.
    pub(crate) fn shows_lowers(&self) -> bool {
        self.dir.as_ref().is_some_and(|dir| dir.shows_lowers())
    }

    /// Whether it is where the caller found it: under this name in this directory.
    pub(crate) fn is_at(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        self.place.read().is_at(parent, name)
    }
}

impl Place {
    /// Whether it is directly in this directory.
    pub(crate) fn is_in(&self, parent: &Arc<Node>) -> bool {
        self.parent
            .as_ref()
            .is_some_and(|at| Arc::ptr_eq(at, parent))
    }

    /// Whether it is directly in this directory under this name.
    pub(crate) fn is_at(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        self.is_in(parent) && *self.name == *name
    }

    /// Changes the parent, keeping count of children. The former parent is returned, since it may
    /// have become unknown by this.
    pub(crate) fn set_parent(&mut self, parent: Option<Arc<Node>>) -> Option<Arc<Node>> {
        if let Some(parent) = &parent {
            parent.children.fetch_add(1, Ordering::Relaxed);
        }
        let former = std::mem::replace(&mut self.parent, parent);
        if let Some(former) = &former {
            former.children.fetch_sub(1, Ordering::Relaxed);
        }
        former
    }
}

impl Drop for Node {
    /// Lets go of the ancestors in a loop: a chain of thousands would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut node| node.place.get_mut().parent.take());
        }
    }
}

//! Nodes: what the overlay remembers of a file while the kernel knows it.
//!
//! A [`Node`] is one file of the merged tree. It has an id, a kind and a [`Place`]: its parent, its
//! name there, and in which layer its object is now. The object of a file moves once in its life,
//! from a lower layer to the upper, when it is copied up; the node stays the same, so that a thread that
//! has it open sees what is written afterwards.
//!
//! # Locks
//!
//! There is no global lock. Every directory has a namespace lock ([`Dir::names`]) and every node a
//! place lock; they are taken in this order, and released as soon as the names or the place need
//! not stay as they are:
//!
//! 1. `Node::copy_up`, one node at a time and a child before its parent;
//! 2. the overlay's rename lock, for a rename from one directory to another;
//! 3. namespace locks, several only through [`lock_names`], which sorts them by node id;
//! 4. `Node::place`, a child before its ancestors. Who holds one for writing asks for no other,
//!    but for rename, which takes those of the two files it moves in the order of their ids
//!    ([`lock_places`]).
//!
//! `Node::times` is taken by itself, with none of these but the place: before it, never by a thread that holds it.
//!
//! The lock of what removed files take (`room`) is the last of all; nothing else is held while waiting with it.
//!
//! A lookup reads names under the namespace lock of its directory; a change of what a name
//! stands for (create, unlink, rename, publishing a copy-up) holds it for writing, for the few
//! system calls of that change. Copying data and fsync happen under `copy_up` alone.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use crate::error::{Errno, Result, decided};
use crate::inode::listing::Listing;
use crate::inode::told_mtime::ToldMtime;
use crate::inode::unlinked::Kept;
use crate::layer::lower::{LowerDir, LowerFile, Name};
use crate::layer::object_id::ROOT_ID;
use crate::layer::redirect::Redirect;
use crate::ops::copy_up::Extent;
use crate::ops::ioctl_flags::KnownProtection;
use crate::types::FileKind;

/// One file of the merged tree.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    /// `st_ino`. Changes only when one of several names of a lower file is copied up.
    pub(crate) ino: AtomicU64,
    pub(crate) kind: FileKind,
    /// How often it was given out by a lookup and not forgotten since. Changed under the lock of
    /// the node table.
    pub(crate) lookups: AtomicU64,
    /// How many nodes have it as the parent of their place. It stays known as long as there are any.
    pub(crate) children: AtomicU32,
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
    pub(crate) real: Real,
    /// What few nodes have.
    pub(crate) below: Below,
}

/// What leads from a node of the upper layer to the layers below it, if that is not its name. Few nodes
/// have any, and nodes are many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Below(Option<Box<Ways>>);

#[derive(Debug, Clone, Default)]
struct Ways {
    redirect: Option<Redirect>,
    data: Option<LowerFile>,
}

impl Below {
    pub(crate) fn new(redirect: Option<Redirect>, data: Option<LowerFile>) -> Self {
        if redirect.is_none() && data.is_none() {
            return Self::default();
        }
        Self(Some(Box::new(Ways { redirect, data })))
    }

    /// Where what the upper object shows is in the layers below, if not under its name.
    pub(crate) fn redirect(&self) -> Option<&Redirect> {
        self.0.as_ref()?.redirect.as_ref()
    }

    /// Where the data of a regular file is that was copied up, here or in a lower layer, without it.
    pub(crate) fn data(&self) -> Option<&LowerFile> {
        self.0.as_ref()?.data.as_ref()
    }

    pub(crate) fn set_redirect(&mut self, redirect: Option<Redirect>) {
        *self = Self::new(redirect, self.data().cloned());
    }

    /// Takes the redirect away; returns whether there was one.
    pub(crate) fn drop_redirect(&mut self) -> bool {
        let had = self.redirect().is_some();
        self.set_redirect(None);
        had
    }

    pub(crate) fn set_data(&mut self, data: Option<LowerFile>) {
        *self = Self::new(self.redirect().cloned(), data);
    }
}

/// In which layer the object of a node is.
#[derive(Debug, Clone)]
pub(crate) enum Real {
    /// In the upper layer, under the node's name in its parent's upper directory.
    Upper,
    /// In a lower layer: for a file the directory that holds it there under the node's name, for a
    /// directory the topmost of its lower directories.
    Lower(Arc<LowerDir>),
    /// In the upper layer, under this name in the index: it may have several names in the layers.
    Index(Arc<Name>),
    /// In the upper layer without a name we know: removed while in use, kept by a descriptor.
    Orphan(Arc<Kept>),
}

/// The part of a node that only a directory has.
#[derive(Debug)]
pub(crate) struct Dir {
    /// The namespace lock, with what it protects.
    pub(crate) names: RwLock<Names>,
    /// How many lower directories there are.
    lower_count: AtomicUsize,
    /// How many lookups had to search layers, while that is counted.
    searches: AtomicU8,
    /// Whether its upper directory is marked impure.
    pub(crate) impure: Maybe,
}

/// What is known of the names in a directory.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Its lower directories, topmost first. What an opaque upper directory hides was never listed
    /// here, and a copied-up directory keeps showing them, until all that they show has been copied
    /// up too ([`Dir::cut_off`]).
    pub(crate) lowers: Box<[Arc<LowerDir>]>,
    /// The merged listing, once it was asked for.
    pub(crate) listing: Option<Listing>,
    /// The directory was removed; nothing can be made in it any more.
    pub(crate) removed: bool,
}

/// A fact that is learned when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Maybe(AtomicU8);

impl Maybe {
    /// What is known.
    pub(crate) fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 2),
        }
    }

    pub(crate) fn set(&self, is: bool) {
        self.0.store(1 + u8::from(is), Ordering::Relaxed);
    }
}

impl Dir {
    fn new(lowers: Vec<Arc<LowerDir>>) -> Self {
        Self {
            lower_count: AtomicUsize::new(lowers.len()),
            searches: AtomicU8::new(0),
            names: RwLock::new(Names {
                lowers: lowers.into(),
                ..Names::default()
            }),
            impure: Maybe::default(),
        }
    }

    /// Counts a lookup that searched the layers. Returns whether there were so many that a listing, which
    /// says where each name is, would be worth its price; this is so once.
    pub(crate) fn count_search(&self) -> bool {
        const MANY: u8 = 8;
        let searches = self.searches.load(Ordering::Relaxed).saturating_add(1);
        // Two that count at the same time count as one.
        self.searches.store(searches, Ordering::Relaxed);
        searches == MANY
    }

    /// Whether it shows lower directories.
    pub(crate) fn shows_lowers(&self) -> bool {
        self.lower_count.load(Ordering::Relaxed) > 0
    }

    /// Says that the directory shows its upper directory alone from now on. `names` are its own.
    pub(crate) fn cut_off(&self, names: &mut Names) {
        names.lowers = Box::default();
        self.lower_count.store(0, Ordering::Relaxed);
    }
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
        !matches!(self.place.read().real, Real::Lower(_))
    }

    /// Whether as much of it as that is in the upper layer.
    pub(crate) fn is_copied(&self, extent: Extent) -> bool {
        let place = self.place.read();
        !matches!(place.real, Real::Lower(_))
            && (extent == Extent::None || place.below.data().is_none())
    }

    /// Whether it is a regular file whose data is in a layer below.
    pub(crate) fn is_metacopy(&self) -> bool {
        self.kind == FileKind::Regular && self.place.read().below.data().is_some()
    }

    /// Whether it is a directory made of more than one.
    pub(crate) fn is_merged(&self, in_upper: bool) -> bool {
        self.dir
            .as_ref()
            .is_some_and(|dir| dir.lower_count.load(Ordering::Relaxed) + usize::from(in_upper) > 1)
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

/// Takes the places of two nodes for writing, in the order of their ids.
pub(crate) fn lock_places<'n>(
    one: &'n Node,
    other: Option<&'n Node>,
) -> (
    RwLockWriteGuard<'n, Place>,
    Option<RwLockWriteGuard<'n, Place>>,
) {
    match other {
        Some(other) if other.id < one.id => {
            let second = other.place.write();
            (one.place.write(), Some(second))
        }
        other => {
            let first = one.place.write();
            (first, other.map(|other| other.place.write()))
        }
    }
}

/// Takes the namespace locks of several directories for writing, in the order of their ids, each
/// once.
///
/// # Errors
/// `NOTDIR` if one is no directory.
pub(crate) fn lock_names<'n>(dirs: &[&'n Arc<Node>]) -> Result<NameLocks<'n>> {
    let mut sorted: Vec<&'n Arc<Node>> = dirs.to_vec();
    sorted.sort_by_key(|node| node.id);
    sorted.dedup_by_key(|node| node.id);
    let locks = sorted
        .into_iter()
        .map(|node| Ok((node.id, node.dir()?.names.write())))
        .collect::<Result<Vec<_>>>()?;
    Ok(NameLocks(locks))
}

/// Namespace locks held for writing.
pub(crate) struct NameLocks<'n>(Vec<(u64, RwLockWriteGuard<'n, Names>)>);

impl NameLocks<'_> {
    /// The names of one of the directories that were locked.
    ///
    /// # Errors
    /// `IO` if it is not among them, which would be a fault of the caller.
    pub(crate) fn of(&mut self, node: &Node) -> Result<&mut Names> {
        self.0
            .iter_mut()
            .find(|(id, _)| *id == node.id)
            .map(|(_, names)| &mut **names)
            .ok_or_else(|| decided(Errno::IO))
    }
}

//! The part of a node that only a directory has: its names, with the lock that protects them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::inode::listing::Listing;
use crate::layer::lower_dir::LowerDir;

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
    /// up too ([`Dir::detach_from_lower`]).
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
    pub(crate) fn new(lowers: Vec<Arc<LowerDir>>) -> Self {
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

    /// How many lower directories it shows.
    pub(super) fn lower_count(&self) -> usize {
        self.lower_count.load(Ordering::Relaxed)
    }

    /// Whether it shows lower directories.
    pub(crate) fn shows_lowers(&self) -> bool {
        self.lower_count.load(Ordering::Relaxed) > 0
    }

    /// Makes the directory show its upper directory alone from now on. `names` are its own.
    pub(crate) fn detach_from_lower(&self, names: &mut Names) {
        names.lowers = Box::default();
        self.lower_count.store(0, Ordering::Relaxed);
    }
}

//! Open descriptors of directories and files, kept for the next request.
//!
//! The daemon says that opening needs no request, so the daemon learns of no open and no close:
//! it opens what it needs and keeps it for a while. The cache is a least-recently-used list with a
//! bound well below `RLIMIT_NOFILE`; a user of a descriptor holds a reference, so that eviction
//! never closes it underneath.
//!
//! Invariant: an entry under [`Key::File`] is a descriptor of the object where its data is now.
//! Copy-up, which moves the data, removes the entry while it excludes new ones.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use rustix::fs::{Mode, OFlags};
use rustix::process::Resource;

use crate::error::{Errno, Result};

const SHARDS: usize = 8;

/// Descriptors that a process has space for after [`reserve`], of which some are for other things.
const MOST: u64 = 8192;
const OTHERS: u64 = 192;

/// How many a cache keeps: half of what the process may have, up to a bound.
pub(crate) fn capacity() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let half = limit.unwrap_or(u64::MAX) / 2;
    half.min(MOST - OTHERS) as usize
}

/// Makes the process ready for as many descriptors as a cache keeps. To be called before there are other
/// threads: with them, the kernel waits some milliseconds each time that its table doubles, to be sure
/// that no thread looks at the old one.
///
/// # Errors
/// `MFILE` and `NOMEM`: the table then grows when it is needed.
pub fn reserve() -> Result<()> {
    let any = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    let last = limit.unwrap_or(MOST).min(MOST).saturating_sub(1);
    let last = i32::try_from(last).unwrap_or(0);
    rustix::io::fcntl_dupfd_cloexec(&any, last).map(drop)
}

type Shard = LruCache<Key, Handle, FxBuildHasher>;

/// Names one descriptor in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// `O_PATH` descriptor of a directory in a lower layer, by the serial number of its record.
    LowerDir(u64),
    /// `O_PATH` descriptor of the upper directory of a node.
    UpperDir(u64),
    /// Descriptor of the data of a node's regular file.
    File(u64),
}

/// A cached descriptor.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    /// The descriptor itself.
    pub(crate) fd: Arc<OwnedFd>,
    /// Whether it may be written to; an `O_PATH` descriptor never.
    pub(crate) writable: bool,
}

/// The cache. All methods may be called by many threads.
#[derive(Debug)]
pub(crate) struct FdCache {
    shards: Box<[Mutex<Shard>]>,
    /// Whether a directory of a lower layer stays what its path leads to.
    keeps_lower_dirs: bool,
}

impl FdCache {
    /// A cache of at most `capacity` descriptors (rounded up to a multiple of the shards).
    pub(crate) fn new(capacity: usize) -> Self {
        let each = NonZeroUsize::new(capacity.div_ceil(SHARDS)).unwrap_or(NonZeroUsize::MIN);
        let shard = |_| {
            // Its table grows with what is in it: a mount is not to wait for memory that it may never use.
            let mut shard = LruCache::unbounded_with_hasher(FxBuildHasher);
            shard.resize(each);
            Mutex::new(shard)
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            keeps_lower_dirs: true,
        }
    }

    /// The same cache for layers that change underneath: a lower directory is looked for by its path
    /// each time.
    pub(crate) fn without_lower_dirs(self) -> Self {
        Self {
            keeps_lower_dirs: false,
            ..self
        }
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let hash = FxBuildHasher.hash_one(key);
        // Other bits than those by which a shard finds it.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }

    pub(crate) fn get(&self, key: Key) -> Option<Handle> {
        self.shard(key).lock().get(&key).cloned()
    }

    /// Keeps a descriptor; one that was there under the same key is dropped.
    pub(crate) fn insert(&self, key: Key, handle: Handle) {
        if matches!(key, Key::LowerDir(_)) && !self.keeps_lower_dirs {
            return;
        }
        let evicted = self.shard(key).lock().push(key, handle);
        // Closed here, after the lock is released: close(2) may write.
        drop(evicted);
    }

    pub(crate) fn remove(&self, key: Key) -> Option<Handle> {
        self.shard(key).lock().pop(&key)
    }

    /// Runs an open, and once more after giving back half of the cache if the process has run out
    /// of descriptors.
    pub(crate) fn open<T>(&self, mut open: impl FnMut() -> Result<T>) -> Result<T> {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.shrink();
                open()
            }
            other => other,
        }
    }

    fn shrink(&self) {
        for shard in &self.shards {
            let mut dropped = Vec::new();
            let mut cache = shard.lock();
            let keep = cache.len() / 2;
            while cache.len() > keep {
                dropped.extend(cache.pop_lru());
            }
            drop(cache);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Handle {
        Handle {
            fd: Arc::new(std::fs::File::open("/").unwrap().into()),
            writable: false,
        }
    }

    #[test]
    fn the_bound_holds_and_a_held_descriptor_outlives_eviction() {
        let cache = FdCache::new(SHARDS * 2);
        cache.insert(Key::File(0), handle());
        let held = cache.get(Key::File(0)).unwrap();
        for id in 1..1000 {
            cache.insert(Key::File(id), handle());
        }
        assert!(cache.len() <= SHARDS * 2);
        assert!(cache.get(Key::File(0)).is_none());
        rustix::fs::fstat(&held.fd).unwrap();
    }

    #[test]
    fn kinds_of_one_number_are_apart() {
        let cache = FdCache::new(64);
        cache.insert(Key::File(1), handle());
        assert!(cache.get(Key::UpperDir(1)).is_none());
        assert!(cache.remove(Key::File(1)).is_some());
        assert!(cache.get(Key::File(1)).is_none());
    }

    #[test]
    fn running_out_of_descriptors_gives_some_back() {
        let cache = FdCache::new(64);
        for id in 0..32 {
            cache.insert(Key::File(id), handle());
        }
        let before = cache.len();
        let mut calls = 0;
        let opened: Result<OwnedFd> = cache.open(|| {
            calls += 1;
            match calls {
                1 => Err(Errno::MFILE),
                _ => Ok(std::fs::File::open("/").unwrap().into()),
            }
        });
        assert!(opened.is_ok());
        assert!(cache.len() <= before.div_ceil(2) + SHARDS);
        assert!(cache.len() < before);
        assert_eq!(
            cache.open(|| Err::<(), _>(Errno::ACCESS)),
            Err(Errno::ACCESS)
        );
    }
}

//! Directories and files in a lower layer.
//!
//! Since a lower layer does not change, a directory inside it is known well enough by its parent and its name
//! there ([`LowerDir`]), whatever becomes of the merged directory it shows through. It can be opened again whenever
//! the cache has evicted its descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::calls::open_dir;
use crate::disk::fd_cache::{FdCache, Handle, Key};
use crate::error::Result;
use crate::layer::lower::Layer;
use crate::layer::overlay_xattrs::DirXattrs;
use crate::types::Name;

/// A directory in a lower layer.
#[derive(Debug)]
pub(crate) struct LowerDir {
    /// Distinguishes this record from every other, in the descriptor cache.
    serial: u64,
    /// Index of its layer among the lowers, topmost first.
    pub(crate) layer: u16,
    /// Where it is; `None` for the root of the layer.
    place: Option<(Arc<LowerDir>, Name)>,
    /// Empty regular files in it may be whiteouts by attribute.
    pub(crate) whiteouts: bool,
    /// Files in it may have records.
    pub(crate) impure: bool,
}

/// A file in a lower layer.
#[derive(Debug, Clone)]
pub(crate) struct LowerFile {
    pub(crate) dir: Arc<LowerDir>,
    pub(crate) name: Name,
}

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

impl LowerDir {
    pub(crate) fn root(layer: u16, xattrs: &DirXattrs) -> Arc<Self> {
        Self::new(layer, None, xattrs)
    }

    pub(crate) fn child(parent: &Arc<Self>, name: &Name, xattrs: &DirXattrs) -> Arc<Self> {
        Self::new(parent.layer, Some((parent.clone(), name.clone())), xattrs)
    }

    pub(crate) fn new(
        layer: u16,
        place: Option<(Arc<LowerDir>, Name)>,
        xattrs: &DirXattrs,
    ) -> Arc<Self> {
        Arc::new(Self {
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            layer,
            place,
            whiteouts: xattrs.whiteouts,
            impure: xattrs.impure,
        })
    }

    /// Whether this is the same place: the same path in the same layer.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (mut one, mut other) = (self, other);
        loop {
            match (&one.place, &other.place) {
                _ if std::ptr::eq(one, other) => return true,
                (None, None) => return one.layer == other.layer,
                (Some((above, name)), Some((others, others_name))) if name == others_name => {
                    (one, other) = (above, others);
                }
                _ => return false,
            }
        }
    }

    /// The key of its descriptor.
    pub(crate) fn key(&self) -> Key {
        Key::LowerDir(self.serial)
    }

    /// An `O_PATH` descriptor of the directory.
    ///
    /// # Errors
    /// Those of openat(2): a layer that was changed underneath the mount shows here.
    pub(crate) fn open(
        self: &Arc<Self>,
        layers: &[Layer],
        cache: &FdCache,
    ) -> Result<Arc<OwnedFd>> {
        // From the nearest ancestor that is open downwards. A loop, not recursion: a tree may be
        // deeper than a stack.
        let mut closed = Vec::new();
        let mut dir = self;
        let mut fd = loop {
            let Some((parent, _)) = &dir.place else {
                break layers[usize::from(dir.layer)].root.clone();
            };
            if let Some(handle) = cache.get(dir.key()) {
                break handle.fd;
            }
            closed.push(dir);
            dir = parent;
        };
        for dir in closed.into_iter().rev() {
            if let Some((_, name)) = &dir.place {
                fd = Arc::new(cache.open(|| open_dir(fd.as_fd(), name))?);
                let handle = Handle {
                    fd: fd.clone(),
                    writable: false,
                };
                cache.insert(dir.key(), handle);
            }
        }
        Ok(fd)
    }
}

impl Drop for LowerDir {
    /// Lets go of the ancestors in a loop: a chain of thousands would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.place.take();
        while let Some((parent, _)) = next {
            next = Arc::into_inner(parent).and_then(|mut dir| dir.place.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::config::LowerLayer;

    #[test]
    fn a_directory_opens_again_after_eviction() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tmp.path().join("a/b")).unwrap();
        let layers = [Layer::open_lower(&LowerLayer::new(tmp.path())).unwrap().0];
        let cache = FdCache::new(16);
        let xattrs = DirXattrs::default();
        let child = |parent: &_, name: &str| {
            LowerDir::child(parent, &Name::from(OsStr::new(name)), &xattrs)
        };
        let a = child(&LowerDir::root(0, &xattrs), "a");
        let b = child(&a, "b");
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let first = b.open(&layers, &cache).unwrap();
        cache.remove(a.key());
        cache.remove(b.key());
        let second = b.open(&layers, &cache).unwrap();
        assert_eq!(inode(&first), inode(&second));
    }

    #[test]
    fn a_very_deep_directory_can_be_dropped() {
        let xattrs = DirXattrs::default();
        let mut dir = LowerDir::root(0, &xattrs);
        let name = Name::from(OsStr::new("d"));
        for _ in 0..200_000 {
            dir = LowerDir::child(&dir, &name, &xattrs);
        }
        drop(dir);
    }
}

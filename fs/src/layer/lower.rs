//! Layers: the directories a stack is made of.
//!
//! A lower layer never changes while it is mounted and is never written to: its directories are
//! opened with `O_PATH`, its files `O_RDONLY`, and nothing else. A directory inside it is therefore
//! known well enough by its parent and its name there ([`LowerDir`]), whatever becomes of the
//! merged directory it shows through, and can be opened again whenever its descriptor was evicted.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, Statx};
use rustix::mount::OpenTreeFlags;

use crate::config::override_stat_mode::Records;
use crate::disk::calls::{device_of, stat_fd};
use crate::disk::fd_cache::{FdCache, Handle, Key};
use crate::error::{MountError, Result};
use crate::layer::overlap::Spot;
use crate::layer::overlay_xattrs::DirMarks;
use crate::types::Device;

/// How many lower layers a mount may have: as many as the kernel's overlay takes.
pub const MAX_LOWER: usize = 500;

/// A name in a directory. Shared, since a listing and a node hold the same one.
pub(crate) type Name = Arc<OsStr>;

/// A lower layer as it is given to [`Overlay::open`](crate::Overlay::open).
#[derive(Debug, Clone)]
pub struct LowerLayer {
    /// The directory.
    pub path: PathBuf,
    /// Which files may carry `override_stat` records.
    pub records: Records,
    /// Which records of overlays there may be: opaque directories, redirects and the like. Asking
    /// costs a system call a directory.
    pub marks: Marks,
    /// Whether whiteouts and opaque markers may be files, as in an OCI layer archive: `.wh.NAME` and
    /// `.wh..wh..opq`. No name that begins so is shown then.
    pub archive_names: bool,
}

/// Which records of overlays count in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Marks {
    /// There are none.
    None,
    /// Those in the namespace of the mount, as in the kernel's overlay. Others are attributes like
    /// any, of an overlay that lies in this one.
    #[default]
    Own,
    /// Those, and opaque markers in every namespace: all of the layer was written by overlays that
    /// knew nothing of this mount.
    Any,
}

impl LowerLayer {
    /// A directory of which nothing is known: marks are looked for, `override_stat` records are not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            records: Records::None,
            marks: Marks::Own,
            archive_names: false,
        }
    }
}

/// An opened layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) path: PathBuf,
    /// Its file system, if that can be told.
    pub(crate) device: Option<Device>,
    /// The id of the mount that `root` is of (statx(2)); 0 if the kernel does not tell.
    pub(crate) mount: u64,
    /// Which of its files may carry `override_stat` records.
    pub(crate) records: Records,
    /// Which records of overlays count in it.
    pub(crate) marks: Marks,
    /// Whether whiteouts may be files in it.
    pub(crate) archive_names: bool,
}

impl Layer {
    /// Opens a lower layer. Besides, where it is.
    pub(crate) fn open_lower(layer: &LowerLayer) -> std::result::Result<(Self, Spot), MountError> {
        let (root, spot) = Spot::open("lower", &layer.path)?;
        let root = without_inner_mounts(root);
        let stat = stat_fd(root.as_fd()).ok();
        let layer = Self {
            device: stat.as_ref().map(device_of),
            mount: stat.map_or(0, |stat| stat.stx_mnt_id),
            root: Arc::new(root),
            path: layer.path.clone(),
            records: layer.records,
            marks: layer.marks,
            archive_names: layer.archive_names,
        };
        Ok((layer, spot))
    }
}

impl Layer {
    /// Whether an object in this layer lies on a file system that is mounted inside the layer. Such mounts show
    /// only where [`without_inner_mounts`] is not allowed.
    pub(crate) fn is_mounted_inside(&self, stat: &Statx) -> bool {
        stat.stx_mnt_id != self.mount
    }
}

/// The same directory in a mount of its own, without what is mounted inside it (open_tree(2)). The kernel's
/// overlay clones the mounts of its layers in this way, and shows what lies below.
///
/// It takes `CAP_SYS_ADMIN` over the mount namespace. In a user namespace the kernel also refuses to uncover
/// what a mount of an outer namespace hides. The directory is then used as it is.
fn without_inner_mounts(dir: OwnedFd) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    match rustix::mount::open_tree(&dir, c"", flags) {
        Ok(clone) => {
            // A clone of a shared mount would share what is mounted there later.
            if let Err(errno) = plyfs_sys::mount::make_private(clone.as_fd()) {
                log::debug!("the mount of a lower directory is not private: {errno}");
            }
            clone
        }
        Err(errno) => {
            log::debug!("mounts inside a lower directory stay visible: open_tree(2): {errno}");
            dir
        }
    }
}

/// Opens a directory below another for use with the `*at` calls.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

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
    pub(crate) fn root(layer: u16, marks: &DirMarks) -> Arc<Self> {
        Self::new(layer, None, marks)
    }

    pub(crate) fn child(parent: &Arc<Self>, name: &Name, marks: &DirMarks) -> Arc<Self> {
        Self::new(parent.layer, Some((parent.clone(), name.clone())), marks)
    }

    fn new(layer: u16, place: Option<(Arc<LowerDir>, Name)>, marks: &DirMarks) -> Arc<Self> {
        Arc::new(Self {
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            layer,
            place,
            whiteouts: marks.whiteouts,
            impure: marks.impure,
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
    use super::*;

    #[test]
    fn a_directory_opens_again_after_eviction() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tmp.path().join("a/b")).unwrap();
        let layers = [Layer::open_lower(&LowerLayer::new(tmp.path())).unwrap().0];
        let cache = FdCache::new(16);
        let marks = DirMarks::default();
        let child =
            |parent: &_, name: &str| LowerDir::child(parent, &Name::from(OsStr::new(name)), &marks);
        let a = child(&LowerDir::root(0, &marks), "a");
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
        let marks = DirMarks::default();
        let mut dir = LowerDir::root(0, &marks);
        let name = Name::from(OsStr::new("d"));
        for _ in 0..200_000 {
            dir = LowerDir::child(&dir, &name, &marks);
        }
        drop(dir);
    }

    #[test]
    fn a_layer_that_is_missing_or_no_directory_is_an_error() {
        let tmp = tempfile::tempdir().unwrap();
        let missing = tmp.path().join("missing");
        let error = Layer::open_lower(&LowerLayer::new(&missing)).err().unwrap();
        assert_eq!(error.errno(), crate::Errno::NOENT);
        assert!(error.to_string().contains("missing"), "{error}");
        std::fs::write(&missing, "").unwrap();
        let error = Layer::open_lower(&LowerLayer::new(&missing)).err().unwrap();
        assert_eq!(error.errno(), crate::Errno::NOTDIR);
    }
}

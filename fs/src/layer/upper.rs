//! The opened upper layer: its directories, locks and what its file system can do.
//!
//! Opening checks where the directories lie, and locks them, before it empties the work directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plyfs_format::names::Namespace;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{FlockOperation, Mode, OFlags, XattrFlags};

use crate::config::{Config, IndexUse, UpperLayer};
use crate::disk::calls::{device_of, stat_fd};
use crate::error::Errno;
use crate::layer::index::{Index, NoIndex};
use crate::layer::lower::Layer;
use crate::layer::origin::Origins;
use crate::layer::overlap::{self, LayerPath};
use crate::layer::work::Work;
use crate::layer::{in_use, kernel_mark};
use crate::open_error::MountError;
use crate::types::Device;

/// The opened upper layer.
#[derive(Debug)]
pub(crate) struct Upper {
    pub(crate) layer: Layer,
    pub(crate) work: Work,
    pub(crate) namespace: Namespace,
    pub(crate) index: Option<Index>,
    /// What it is on.
    pub(crate) device: Device,
    /// Whether its file system keeps everything in memory.
    pub(crate) in_memory: bool,
    /// Whether its file system never keeps a later change of a file and loses the blocks that were shared
    /// with it (ioctl_ficlone(2)).
    pub(super) orders_clones: bool,
    /// Whether they were ordered and made: no copy of a file on the same file system waits for a disk.
    pub(crate) shares_at_once: AtomicBool,
    /// Held for its lock: two mounts that share an upper directory would not see each other's changes.
    _lock: OwnedFd,
}

impl Upper {
    pub(crate) fn open(
        upper: &UpperLayer,
        mut paths: Vec<LayerPath>,
        config: &Config,
    ) -> std::result::Result<Self, MountError> {
        let (root, layer_path) = LayerPath::open("upper", &upper.path)?;
        // All this before anything is done there: the work directory is emptied.
        let (work_root, work_spot) = LayerPath::open("work", &upper.work)?;
        paths.extend([layer_path, work_spot]);
        overlap::check(&paths)?;
        if config.index == IndexUse::On && !config.in_store {
            in_use::refuse(&paths)?;
        }
        let device = same_device(upper, root.as_fd(), work_root.as_fd())?;
        let mount = stat_fd(root.as_fd()).map_or(0, |stat| stat.stx_mnt_id);
        let lock = lock_upper(&upper.path, root.as_fd())?;
        let work = Work::open(&upper.work, config.volatile, upper.archive_names)?;
        work.prove_files(&upper.work)?;
        if upper.records.are_believed() {
            let (upper_dir, work_dir) = (root.as_fd(), work_root.as_fd());
            let (upper, work) = ((&*upper.path, upper_dir), (&*upper.work, work_dir));
            kernel_mark::settle(upper, work, config.marked_upper)?;
        }
        let namespace = config
            .namespace
            .unwrap_or_else(|| probe_namespace(work.dir()));
        let file_system = rustix::fs::fstatfs(root.as_fd()).map(|found| found.f_type as u64);
        Ok(Self {
            layer: Layer {
                root: Arc::new(root),
                path: upper.path.clone(),
                device: Some(device),
                mount,
                records: upper.records,
                marks: upper.marks,
                archive_names: upper.archive_names,
            },
            index: None,
            device,
            in_memory: file_system == Ok(TMPFS_MAGIC),
            // All of it goes through one log, in order. Btrfs logs names apart from data.
            orders_clones: file_system == Ok(XFS_MAGIC),
            shares_at_once: AtomicBool::new(false),
            _lock: lock,
            work,
            namespace,
        })
    }
}

impl Upper {
    /// Opens the index, if there is to be one.
    pub(crate) fn open_index(
        &mut self,
        wish: IndexUse,
        lowers: &[Layer],
        origins: &Origins,
    ) -> std::result::Result<(), MountError> {
        let top = lowers.first().filter(|_| wish != IndexUse::Off);
        let Some(top) = top else { return Ok(()) };
        let at = At::Fd(top.root.as_fd());
        let record = stat_fd(top.root.as_fd()).ok();
        let record = record.and_then(|stat| origins.record(at, &stat));
        let (root, workdir) = (self.layer.root.as_fd(), self.work.outer());
        match Index::open(root, workdir, self.namespace, record) {
            Ok(index) => {
                self.work.stage_in(index.dir().clone());
                self.index = Some(index);
            }
            Err(why) if wish == IndexUse::Auto => log::info!("no index: {why:?}"),
            Err(NoIndex::OtherLayers) => {
                return Err(MountError::OtherLayers {
                    upper: self.layer.path.clone(),
                });
            }
            // As the kernel's overlay goes on.
            Err(NoIndex::Lacks(what, errno)) => log::warn!(
                "an index needs {what}, which a layer's file system does not have ({errno}): \
                 falling back to index=off"
            ),
        }
        Ok(())
    }
}

/// What statfs(2) calls file systems (`linux/magic.h`).
const TMPFS_MAGIC: u64 = 0x0102_1994;

const XFS_MAGIC: u64 = 0x5846_5342;

/// Takes the upper directory for this mount alone (flock(2)).
fn lock_upper(path: &Path, root: BorrowedFd<'_>) -> std::result::Result<OwnedFd, MountError> {
    let failed = |errno| MountError::Open {
        role: "upper",
        path: path.to_owned(),
        errno,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(root, c".", flags, Mode::empty()).map_err(failed)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(MountError::InUse {
            role: "upper",
            path: path.to_owned(),
        }),
        Err(errno) => Err(failed(errno)),
    }
}

/// The one device that both are on: the work directory must be where a rename reaches the upper directory.
fn same_device(
    upper: &UpperLayer,
    upper_root: BorrowedFd<'_>,
    work_root: BorrowedFd<'_>,
) -> std::result::Result<Device, MountError> {
    let device = |fd, path: &Path| {
        let stat = stat_fd(fd).map_err(|errno| MountError::Open {
            role: "work",
            path: path.to_owned(),
            errno,
        })?;
        Ok(device_of(&stat))
    };
    let found = device(upper_root, &upper.path)?;
    if device(work_root, &upper.work)? != found {
        return Err(MountError::WorkElsewhere {
            work: upper.work.clone(),
            upper: upper.path.clone(),
        });
    }
    Ok(found)
}

/// The namespace this process may write records to.
fn probe_namespace(work: BorrowedFd<'_>) -> Namespace {
    let name = c"trusted.overlay.probe";
    match xattr::set(At::Fd(work), name, b"", XattrFlags::empty()) {
        Ok(()) => {
            if let Err(errno) = xattr::remove(At::Fd(work), name) {
                log::debug!("work directory keeps a trusted.overlay.probe attribute: {errno}");
            }
            Namespace::Trusted
        }
        Err(_) => Namespace::User,
    }
}

//! Opening an overlay, and what does not belong to a single concern.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use plyfs_format::names::Namespace;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{FlockOperation, Mode, OFlags, StatVfs, XattrFlags};

use crate::config::ids::{Owners, ShownIds};
use crate::config::override_stat_mode::Records;
use crate::disk::calls::{device_of, stat_fd};
use crate::disk::fd_cache::{self, FdCache, Key};
use crate::error::{Errno, MountError, Result, decided};
use crate::inode::node::{Below, Node, Place, Real};
use crate::inode::table::NodeTable;
use crate::inode::unlinked::Removed;
use crate::layer::in_use;
use crate::layer::index::{Index, IndexUse, NoIndex};
use crate::layer::kernel_mark::{self, MarkedUpper};
use crate::layer::lower::{Layer, LowerDir, LowerLayer, MAX_LOWER, Marks, Name};
use crate::layer::object_id::{Numbering, ROOT_ID};
use crate::layer::origin::Origins;
use crate::layer::overlap::{self, Spot};
use crate::layer::overlay_xattrs::DirMarks;
use crate::layer::redirect::RedirectDir;
use crate::layer::trap::Traps;
use crate::layer::work::Work;
use crate::types::Device;

/// The layer that takes the changes.
#[derive(Debug, Clone)]
pub struct UpperLayer {
    /// The upper directory.
    pub path: PathBuf,
    /// The work directory: empty, on the same file system, for this mount alone.
    pub work: PathBuf,
    /// What goes into `override_stat` records, because the process cannot make it as it is to be.
    pub records: Records,
    /// Which records of overlays count in it.
    pub marks: Marks,
    /// Whether whiteouts may be files in it. See [`LowerLayer::archive_names`].
    pub archive_names: bool,
}

/// Whether an overlay is volatile, and how the next mount learns of it.
///
/// The mark is the directory `incompat/volatile` in `workdir/work`, as in the kernel's overlay: an
/// upper layer that has it is not mounted, because there may be holes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Volatile {
    /// It is not.
    #[default]
    No,
    /// It is, and the mark stays, as in the kernel's overlay: a user who knows that the machine did not
    /// crash takes it away.
    Marked,
    /// It is, and the mark goes when everything was made durable at the end.
    MarkedWhileOpen,
    /// It is, and the owner of the upper layer knows. Marks of others do not count.
    Unmarked,
}

/// What an overlay is made of, and how it behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The lower layers, topmost first.
    pub lowers: Vec<LowerLayer>,
    /// Layers below those that show no names: they hold the data of metacopy files that lead there
    /// by a redirect (`::` in the kernel's `lowerdir=`).
    pub data: Vec<LowerLayer>,
    /// The upper layer; without one the overlay is read-only.
    pub upper: Option<UpperLayer>,
    /// Whether copy-up, fsync and closing may leave data in memory. Faster, and everything since the
    /// mount may be lost with the machine.
    pub volatile: Volatile,
    /// The namespace of the overlay's records; tried out if not given.
    pub namespace: Option<Namespace>,
    /// The ids that `override_stat` records may be shown with.
    pub shown_ids: ShownIds,
    /// How owners on disk are shown.
    pub owners: Owners,
    /// What is done with redirects.
    pub redirect_dir: RedirectDir,
    /// Whether hard links of a lower file stay one file.
    pub index: IndexUse,
    /// Whether every directory has a link count of 1, and not only those that show several.
    pub static_nlink: bool,
    /// Whether changes of attributes alone copy no data up, and metacopy files are looked for in all
    /// of the lower layers and not only where a directory is marked impure.
    pub metacopy: bool,
    /// Whether the transport gathers writes, and keeps the times of files meanwhile.
    pub gathers: bool,
    /// Whether the lower layers may change while they are shown. Nothing is remembered of them
    /// then.
    pub lowers_change: bool,
    /// What is done with an upper layer that has records, but that the kernel's overlay has served.
    pub marked_upper: MarkedUpper,
    /// Whether the layers are in a store, which itself locks the directories that hold them: these locks do not say
    /// that another mount changes a layer.
    pub in_store: bool,
}

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
    pub(crate) orders_clones: bool,
    /// Whether they were ordered and made: no copy of a file on the same file system waits for a disk.
    pub(crate) shares_at_once: AtomicBool,
    /// Held for its lock: two mounts that share an upper directory would not see each other's changes.
    _lock: OwnedFd,
}

/// A stack of layers shown as one tree.
///
/// Every method may be called by many threads at once.
#[derive(Debug)]
pub struct Overlay {
    /// The lower layers, then those with data only.
    pub(crate) lowers: Box<[Layer]>,
    /// The roots of the lower layers.
    pub(crate) roots: Box<[Arc<LowerDir>]>,
    /// The roots of the layers with data only.
    pub(crate) data_roots: Box<[Arc<LowerDir>]>,
    pub(crate) upper: Option<Upper>,
    /// Where records of overlays are read, and written if there is an upper layer.
    pub(crate) namespace: Namespace,
    pub(crate) redirect_dir: RedirectDir,
    pub(crate) metacopy: bool,
    pub(crate) static_nlink: bool,
    pub(crate) gathers: bool,
    pub(crate) lowers_change: bool,
    pub(crate) origins: Origins,
    pub(crate) numbering: Numbering,
    pub(crate) traps: Traps,
    pub(crate) nodes: NodeTable,
    pub(crate) fds: FdCache,
    pub(crate) removed: Arc<Removed>,
    pub(crate) shown_ids: ShownIds,
    pub(crate) owners: Owners,
    /// Held while something is moved from one directory to another.
    pub(crate) rename: Mutex<()>,
    pub(crate) volatile: bool,
    /// Whether the mark of a volatile overlay is to go at the end.
    unmark: bool,
    /// Told of nodes whose attributes the overlay changed without being asked to.
    notify: OnceLock<Notify>,
}

/// See [`Overlay::on_unasked_change`].
struct Notify(Box<dyn Fn(u64) + Send + Sync>);

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notify")
    }
}

impl Overlay {
    /// Opens the layers.
    ///
    /// The work directory is emptied and locked; nothing else is changed.
    ///
    /// # Errors
    /// What keeps these directories from being an overlay.
    pub fn open(config: &Config) -> std::result::Result<Self, MountError> {
        match config.lowers.len() + config.data.len() {
            _ if config.lowers.is_empty() => return Err(MountError::NoLower),
            count if count > MAX_LOWER => return Err(MountError::TooManyLowers(count)),
            _ => {}
        }
        let all = config.lowers.iter().chain(&config.data);
        let opened = all.map(Layer::open_lower);
        let (lowers, spots): (Vec<_>, Vec<_>) = opened
            .collect::<std::result::Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let lowers: Box<[Layer]> = lowers.into();
        let origins = Origins::probe(&lowers);
        let mut upper = match &config.upper {
            None => overlap::check(&spots).map(|()| None)?,
            Some(upper) => Some(Upper::open(upper, spots, config)?),
        };
        if let Some(upper) = &mut upper {
            upper.open_index(config.index, &lowers, &origins)?;
        }
        let namespace = match (&upper, config.namespace) {
            (Some(upper), _) => upper.namespace,
            (None, Some(namespace)) => namespace,
            (None, None) => readable_namespace(),
        };
        let (roots, data_roots) = open_roots(&lowers, config.lowers.len(), namespace)?;
        let fds = FdCache::new(fd_cache::capacity());
        let fds = match config.lowers_change {
            true => fds.without_lower_dirs(),
            false => fds,
        };
        let mut overlay = Self {
            roots,
            data_roots,
            namespace,
            redirect_dir: config.redirect_dir,
            metacopy: config.metacopy,
            static_nlink: config.static_nlink,
            gathers: config.gathers,
            lowers_change: config.lowers_change,
            origins,
            lowers,
            upper,
            numbering: Numbering::default(),
            traps: Traps::default(),
            nodes: NodeTable::default(),
            fds,
            removed: Arc::default(),
            shown_ids: config.shown_ids.clone(),
            owners: config.owners.clone(),
            rename: Mutex::new(()),
            volatile: config.volatile != Volatile::No,
            unmark: config.volatile == Volatile::MarkedWhileOpen,
            notify: OnceLock::new(),
        };
        overlay.number_systems();
        overlay.traps = overlay.set_traps();
        overlay.make_root()?;
        Ok(overlay)
    }

    /// Gives the layers' file systems their places in inode numbers, in an order that does not depend
    /// on what is looked up first: the upper layer comes first and its files have the numbers that they have on
    /// disk, as in the kernel's overlay, so that 32-bit programs can read them (stat(2), `EOVERFLOW`). The
    /// lower layers follow from the top, so that an upper layer that becomes the topmost lower one keeps its place.
    fn number_systems(&self) {
        let upper = self.upper.as_ref().map(|upper| &upper.layer);
        for layer in upper.into_iter().chain(&self.lowers) {
            if let Some(device) = layer.device {
                self.numbering.index(device);
            }
        }
    }

    /// The directories that are not to be met at a lookup.
    fn set_traps(&self) -> Traps {
        let lowers = self.lowers.iter().map(|layer| layer.root.as_fd());
        let upper = self.upper.iter().flat_map(|upper| {
            let index = upper.index.as_ref().map(|index| index.dir().as_fd());
            [upper.layer.root.as_fd(), upper.work.outer()]
                .into_iter()
                .chain(index)
        });
        Traps::new(lowers.chain(upper), &self.numbering)
    }

    /// Calls `f` with the id of every node whose attributes change otherwise than by what a caller
    /// asked for, because a transport may have kept them. May be set once.
    pub fn on_unasked_change(&self, f: impl Fn(u64) + Send + Sync + 'static) {
        if self.notify.set(Notify(Box::new(f))).is_err() {
            log::debug!("a listener for changes is set already");
        }
    }

    pub(crate) fn changed_unasked(&self, id: u64) {
        if let Some(notify) = self.notify.get() {
            (notify.0)(id);
        }
    }

    /// Puts the root into the table of nodes.
    fn make_root(&self) -> std::result::Result<(), MountError> {
        let roots = self.roots.to_vec();
        let (layer, real) = match (&self.upper, roots.first()) {
            (Some(upper), _) => (&upper.layer, Real::Upper),
            (None, Some(root)) => (&self.lowers[0], Real::Lower(root.clone())),
            (None, None) => return Err(MountError::NoLower),
        };
        let stat = stat_fd(layer.root.as_fd()).map_err(|errno| MountError::Open {
            role: "layer",
            path: layer.path.clone(),
            errno,
        })?;
        let object = self.numbering.object(device_of(&stat), stat.stx_ino);
        let place = Place {
            parent: None,
            name: Name::from(std::ffi::OsStr::new("")),
            real,
            below: Below::default(),
        };
        let ino = object.derived().unwrap_or(ROOT_ID);
        let kind = crate::types::FileKind::Directory;
        let node = Node::new(ROOT_ID, ino, kind, place, roots);
        self.nodes.insert_root(node, object);
        Ok(())
    }

    /// The node id of the root directory.
    pub fn root(&self) -> u64 {
        ROOT_ID
    }

    /// Where records of overlays are read, and written if there is an upper layer.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// Whether hard links of lower files stay one file.
    pub fn has_index(&self) -> bool {
        self.index().is_some()
    }

    /// Whether nothing can be changed.
    pub fn is_read_only(&self) -> bool {
        self.upper.is_none()
    }

    /// The node with this id.
    ///
    /// # Errors
    /// `STALE` if it is not known (any more).
    pub(crate) fn node(&self, id: u64) -> Result<Arc<Node>> {
        self.nodes.get(id).ok_or_else(|| decided(Errno::STALE))
    }

    /// The upper layer.
    ///
    /// # Errors
    /// `ROFS` if there is none.
    pub(crate) fn upper(&self) -> Result<&Upper> {
        self.upper.as_ref().ok_or(Errno::ROFS)
    }

    /// Takes back `count` lookups of a node. When there are none left, it is unknown and its id may
    /// be used for another.
    pub fn forget(&self, id: u64, count: u64) {
        for node in self.nodes.forget(id, count) {
            self.fds.remove(Key::File(node.id));
            self.fds.remove(Key::UpperDir(node.id));
        }
    }

    /// How many nodes are known.
    pub fn known_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Size and free space of the file system that takes the changes, or of the topmost layer's
    /// (fstatvfs(3)).
    ///
    /// # Errors
    /// Those of fstatfs(2).
    pub fn statfs(&self) -> Result<StatVfs> {
        let layer = self.upper.as_ref().map(|upper| &upper.layer);
        let layer = layer
            .or(self.lowers.first())
            .ok_or_else(|| decided(Errno::IO))?;
        rustix::fs::fstatvfs(&layer.root)
    }

    /// Does what is to be done at the end, when nothing will be changed any more.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn finish(&self) -> Result<()> {
        match &self.upper {
            Some(upper) if self.unmark => {
                rustix::fs::syncfs(upper.work.dir())?;
                upper.work.unmark()
            }
            _ => self.sync(),
        }
    }

    /// Makes everything that was changed durable, unless the overlay is volatile (syncfs(2)).
    ///
    /// # Errors
    /// `IO`, `NOSPC` and `DQUOT` if something written before could not be kept.
    pub fn sync(&self) -> Result<()> {
        match &self.upper {
            Some(upper) if !self.volatile => rustix::fs::syncfs(upper.work.dir()),
            _ => Ok(()),
        }
    }
}

impl Upper {
    fn open(
        upper: &UpperLayer,
        mut spots: Vec<Spot>,
        config: &Config,
    ) -> std::result::Result<Self, MountError> {
        let (root, spot) = Spot::open("upper", &upper.path)?;
        // All this before anything is done there: the work directory is emptied.
        let (work_root, work_spot) = Spot::open("work", &upper.work)?;
        spots.extend([spot, work_spot]);
        overlap::check(&spots)?;
        if config.index == IndexUse::On && !config.in_store {
            in_use::refuse(&spots)?;
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

/// The roots of the lower layers, of which the first `count` show names and the others hold data.
#[expect(clippy::type_complexity, reason = "two lists of one kind")]
fn open_roots(
    lowers: &[Layer],
    count: usize,
    namespace: Namespace,
) -> std::result::Result<(Box<[Arc<LowerDir>]>, Box<[Arc<LowerDir>]>), MountError> {
    let root = |(index, layer): (usize, &Layer)| {
        // By a name, which takes a system call less where the kernel can (getxattrat(2)).
        let at = At::Name(layer.root.as_fd(), b".");
        let marks = DirMarks::read(at, namespace, layer.marks);
        let marks = marks.map_err(|errno| MountError::Open {
            role: "lower",
            path: layer.path.clone(),
            errno,
        })?;
        let index = u16::try_from(index).map_err(|_| MountError::TooManyLowers(lowers.len()))?;
        Ok(LowerDir::root(index, &marks))
    };
    let all = lowers.iter().enumerate().map(root);
    let mut roots = all.collect::<std::result::Result<Vec<_>, MountError>>()?;
    let data = roots.split_off(count);
    Ok((roots.into(), data.into()))
}

/// The namespace whose records this process can read: those of `trusted.*` are shown to no process but
/// the superuser of the initial user namespace.
fn readable_namespace() -> Namespace {
    let identity = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let capable = rustix::thread::capabilities(None).is_ok_and(|sets| {
        sets.effective
            .contains(rustix::thread::CapabilitySet::SYS_ADMIN)
    });
    match identity && capable {
        true => Namespace::Trusted,
        false => Namespace::User,
    }
}

impl Upper {
    /// Opens the index, if there is to be one.
    fn open_index(
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
        match Index::open(self, record) {
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

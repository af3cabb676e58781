//! Opening an overlay.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use plyfs_format::names::Namespace;
use plyfs_sys::xattr::At;

use crate::config::{Config, MAX_LOWER, Volatile};
use crate::disk::calls::{device_of, stat_fd};
use crate::disk::fd_cache::{self, FdCache};
use crate::inode::backing::{Backing, LowerLink};
use crate::inode::node::{Node, Place};
use crate::inode::table::NodeTable;
use crate::layer::lower::Layer;
use crate::layer::lower_dir::LowerDir;
use crate::layer::object_id::InoMapper;
use crate::layer::origin::Origins;
use crate::layer::overlap::{self, LayerPath};
use crate::layer::overlay_xattrs::DirXattrs;
use crate::layer::trap::Traps;
use crate::layer::upper::Upper;
use crate::open_error::MountError;
use crate::overlay::Overlay;
use crate::types::{Name, ROOT_ID};

impl Overlay {
    /// Opens the layers.
    ///
    /// The work directory is emptied and locked; nothing else is changed.
    ///
    /// # Errors
    /// What keeps these directories from being an overlay.
    pub fn open(config: &Config) -> std::result::Result<Self, MountError> {
        let (lowers, paths) = open_lowers(config)?;
        let origins = Origins::probe(&lowers);
        // Where the directories lie is checked before the work directory is emptied.
        let mut upper = match &config.upper {
            None => overlap::check(&paths).map(|()| None)?,
            Some(upper) => Some(Upper::open(upper, paths, config)?),
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
        let fds = if config.lowers_change {
            fds.without_lower_dirs()
        } else {
            fds
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
            ino_mapper: InoMapper::default(),
            traps: Traps::default(),
            nodes: NodeTable::default(),
            fds,
            unlinked: Arc::default(),
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
                self.ino_mapper.index(device);
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
        Traps::new(lowers.chain(upper), &self.ino_mapper)
    }

    /// Puts the root into the table of nodes.
    fn make_root(&self) -> std::result::Result<(), MountError> {
        let roots = self.roots.to_vec();
        let (layer, backing) = match (&self.upper, roots.first()) {
            (Some(upper), _) => (&upper.layer, Backing::Upper),
            (None, Some(root)) => (&self.lowers[0], Backing::Lower(root.clone())),
            (None, None) => return Err(MountError::NoLower),
        };
        let stat = stat_fd(layer.root.as_fd()).map_err(|errno| MountError::Open {
            role: "layer",
            path: layer.path.clone(),
            errno,
        })?;
        let object = self.ino_mapper.object(device_of(&stat), stat.stx_ino);
        let place = Place {
            parent: None,
            name: Name::from(std::ffi::OsStr::new("")),
            backing,
            lower_link: LowerLink::default(),
        };
        let ino = object.derived().unwrap_or(ROOT_ID);
        let kind = crate::types::FileKind::Directory;
        let node = Node::new(ROOT_ID, ino, kind, place, roots);
        self.nodes.insert_root(node, object);
        Ok(())
    }
}

/// Opens the lower layers, then those with data only, and says where they are.
fn open_lowers(config: &Config) -> std::result::Result<(Box<[Layer]>, Vec<LayerPath>), MountError> {
    match config.lowers.len() + config.data.len() {
        _ if config.lowers.is_empty() => return Err(MountError::NoLower),
        count if count > MAX_LOWER => return Err(MountError::TooManyLowers(count)),
        _ => {}
    }
    let all = config.lowers.iter().chain(&config.data);
    let opened: std::result::Result<Vec<_>, _> = all.map(Layer::open_lower).collect();
    let (lowers, paths): (Vec<_>, Vec<_>) = opened?.into_iter().unzip();
    Ok((lowers.into(), paths))
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
        let xattrs = DirXattrs::read(at, namespace, layer.marks);
        let xattrs = xattrs.map_err(|errno| MountError::Open {
            role: "lower",
            path: layer.path.clone(),
            errno,
        })?;
        let index = u16::try_from(index).map_err(|_| MountError::TooManyLowers(lowers.len()))?;
        Ok(LowerDir::root(index, &xattrs))
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
    if identity && capable {
        Namespace::Trusted
    } else {
        Namespace::User
    }
}

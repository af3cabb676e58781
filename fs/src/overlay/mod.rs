//! The overlay, and what every operation needs.
//!
//! The files of this folder answer questions that several operations have: where the object of a node is, what
//! stat(2) shows for it, what a directory lists. They know no operation.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use plyfs_format::names::Namespace;
use plyfs_sys::xattr::At;
use rustix::fs::{StatVfs, Statx};

use crate::config::RedirectDir;
use crate::config::ids::{Owners, ShownIds};
use crate::disk::calls::device_of;
use crate::disk::fd_cache::{FdCache, Key};
use crate::error::{Errno, Result, decided};
use crate::inode::node::Node;
use crate::inode::table::NodeTable;
use crate::inode::unlinked::UnlinkedFiles;
use crate::layer::index::Index;
use crate::layer::lower::Layer;
use crate::layer::lower_dir::LowerDir;
use crate::layer::object_id::{InoMapper, ObjectId};
use crate::layer::origin::Origins;
use crate::layer::trap::Traps;
use crate::layer::upper::Upper;
use crate::types::ROOT_ID;

pub(crate) mod attr;
pub(crate) mod changing;
pub(crate) mod impure;
pub(crate) mod locate;
pub(crate) mod lower_names;
pub(crate) mod merge;
pub(crate) mod mtime;
pub(crate) mod open;
pub(crate) mod open_file;
pub(crate) mod protection;
pub(crate) mod set_id;
pub(crate) mod shown_path;
pub(crate) mod space;

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
    pub(crate) ino_mapper: InoMapper,
    pub(crate) traps: Traps,
    pub(crate) nodes: NodeTable,
    pub(crate) fds: FdCache,
    pub(crate) unlinked: Arc<UnlinkedFiles>,
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
    /// The index, if there is one.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.upper.as_ref()?.index.as_ref()
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

    /// How many nodes are known. Tests ask, to see that what was looked up is forgotten.
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

    /// The identity of an object.
    pub(crate) fn object_of(&self, stat: &Statx) -> ObjectId {
        self.ino_mapper.object(device_of(stat), stat.stx_ino)
    }

    /// Whether a directory found in a layer is the root of a layer.
    pub(crate) fn is_layer(&self, at: At<'_>, stat: &Statx) -> bool {
        self.traps.has(self.object_of(stat), at)
    }
}

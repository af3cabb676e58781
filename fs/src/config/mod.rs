//! What an overlay is made of, and how it behaves.

use std::path::PathBuf;

use plyfs_format::names::Namespace;

use crate::config::ids::{Owners, ShownIds};
use crate::config::override_stat_mode::OverrideStatMode;

pub(crate) mod ids;
pub(crate) mod override_stat_mode;

/// The layer that takes the changes.
#[derive(Debug, Clone)]
pub struct UpperLayer {
    /// The upper directory.
    pub path: PathBuf,
    /// The work directory: empty, on the same file system, for this mount alone.
    pub work: PathBuf,
    /// What goes into `override_stat` records, because the process cannot make it as it is to be.
    pub records: OverrideStatMode,
    /// Which records of overlays count in it.
    pub marks: XattrTrust,
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

/// How many lower layers a mount may have: as many as the kernel's overlay takes.
pub const MAX_LOWER: usize = 500;

/// A lower layer as it is given to [`Overlay::open`](crate::Overlay::open).
#[derive(Debug, Clone)]
pub struct LowerLayer {
    /// The directory.
    pub path: PathBuf,
    /// Which files may carry `override_stat` records.
    pub records: OverrideStatMode,
    /// Which records of overlays there may be: opaque directories, redirects and the like. Asking
    /// costs a system call a directory.
    pub marks: XattrTrust,
    /// Whether whiteouts and opaque markers may be files, as in an OCI layer archive: `.wh.NAME` and
    /// `.wh..wh..opq`. No name that begins so is shown then.
    pub archive_names: bool,
}

/// Which records of overlays count in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrTrust {
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
            records: OverrideStatMode::None,
            marks: XattrTrust::Own,
            archive_names: false,
        }
    }
}

/// Whether an overlay keeps an index (`index=` of the kernel's overlay).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexUse {
    /// If the file systems have what it takes, and it fits the layers.
    #[default]
    Auto,
    /// The same, with a warning if not; and an upper layer that was made on others is not mounted.
    On,
    /// None. Hard links of a lower file break at copy-up.
    Off,
}

/// What is done with redirects (`redirect_dir=` of the kernel's overlay).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectDir {
    /// They are followed and made.
    On,
    /// They are followed and not made: a directory that shows lower ones is copied to be moved.
    #[default]
    Follow,
    /// They are neither made nor followed: looking up a redirected directory fails with `PERM`.
    NoFollow,
}

/// What opening does with an upper layer that has the mark, where records are to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarkedUpper {
    /// Refuses it if it has records: plyfs may have written some before.
    #[default]
    Refuse,
    /// Removes its records. For an upper layer that the kernel's overlay serves only if it has none.
    Clean,
}

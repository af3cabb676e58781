//! Which files of a layer carry `override_stat` records (see `plyfs_format::override_stat`).

use rustix::fs::Statx;

use crate::attr::FileKind;

/// Which files of a layer may carry a record.
///
/// Looking for one costs a system call, so a layer says where there may be some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Records {
    /// None. Files are what they are on disk, and a `user.containers.override_stat` attribute is an
    /// attribute like any other.
    #[default]
    None,
    /// Devices only: the layer belongs to a user namespace with ids enough for owners, but in which
    /// no devices can be made. They are empty regular files with a record.
    Devices,
    /// Any file: the layer belongs to somebody with a single id. What is in `security.*` is kept
    /// under another name as well.
    All,
}

impl Records {
    /// Whether owners, modes and `security.*` attributes are in records.
    pub(crate) fn keep_owners(self) -> bool {
        self == Self::All
    }

    /// Owner and group of an object that has no record. Where owners are in records, the one on disk
    /// is whoever wrote the layer, and says nothing; without a record root is meant.
    pub(crate) fn owner_on_disk(self, stat: &Statx) -> (u32, u32) {
        match self {
            Self::All => (0, 0),
            _ => (stat.stx_uid, stat.stx_gid),
        }
    }

    /// Whether an object on disk may carry a record. Only regular files and directories can have
    /// `user.*` attributes (xattr(7)).
    pub(crate) fn may_be_on(self, kind: FileKind, stat: &Statx) -> bool {
        match self {
            Self::None => false,
            Self::Devices => kind == FileKind::Regular && stat.stx_size == 0,
            Self::All => matches!(kind, FileKind::Regular | FileKind::Directory),
        }
    }

    /// Whether an object that is to show this kind and owner has to be a regular file with a record:
    /// it cannot be made by who uses such records, or could not carry the record that it needs.
    pub(crate) fn need_stand_in(self, kind: FileKind, owner: (u32, u32)) -> bool {
        match kind {
            FileKind::Regular | FileKind::Directory => false,
            FileKind::Block | FileKind::Char => self != Self::None,
            FileKind::Symlink | FileKind::Fifo | FileKind::Socket => {
                self == Self::All && owner != (0, 0)
            }
        }
    }

    /// Whether attributes of a node of this kind are changed by changing its record.
    pub(crate) fn rule(self, kind: FileKind) -> bool {
        match self {
            Self::None => false,
            Self::Devices => matches!(kind, FileKind::Block | FileKind::Char),
            Self::All => true,
        }
    }
}

//! Which files of a layer carry `override_stat` records (see `plyfs_format::override_stat`).

use std::ffi::CStr;

use plyfs_format::override_stat::{self, Kind as RecordKind, OverrideStat};
use rustix::fs::Statx;

use crate::types::FileKind;

/// Which files of a layer may carry a record.
///
/// Looking for one costs a system call, so a layer says where there may be some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverrideStatMode {
    /// None. Files are what they are on disk, whatever records they have.
    #[default]
    None,
    /// As `None`, in a layer that has records only where others than plyfs could write them.
    Untrusted,
    /// Devices only: the layer belongs to a user namespace with ids enough for owners, but in which
    /// no devices can be made. They are empty regular files with a record.
    Devices,
    /// Any file: the layer belongs to a user with a single id. What is in `security.*` is kept
    /// under another name as well.
    All,
    /// As `All`, where older versions of fuse-overlayfs keep records.
    Older,
    /// Any file, in an attribute that only the superuser of the machine may write. Without a record, a
    /// file is what it is on disk.
    Privileged,
}

impl OverrideStatMode {
    /// Whether what a record says is believed.
    pub(crate) fn are_believed(self) -> bool {
        !matches!(self, Self::None | Self::Untrusted)
    }

    /// The same, for a layer whose records others than plyfs could write.
    pub fn untrusted(self) -> Self {
        match self {
            Self::None => Self::None,
            _ => Self::Untrusted,
        }
    }

    /// Whether owners and modes are in records.
    pub fn keep_owners(self) -> bool {
        matches!(self, Self::All | Self::Older | Self::Privileged)
    }

    /// Whether `security.*` attributes have another name on disk.
    pub(crate) fn rename_security(self) -> bool {
        matches!(self, Self::All | Self::Older)
    }

    /// The attribute that a record is in.
    pub fn attribute(self) -> &'static CStr {
        match self {
            Self::None | Self::Untrusted | Self::Devices | Self::All => {
                c"user.containers.override_stat"
            }
            Self::Older => override_stat::OLDER,
            Self::Privileged => override_stat::PRIVILEGED,
        }
    }

    /// Owner and group of an object that has no record. Where owners are in records, the one on disk
    /// is the user who wrote the layer, and says nothing; without a record root is meant.
    pub(crate) fn owner_on_disk(self, stat: &Statx) -> (u32, u32) {
        match self {
            Self::All | Self::Older => (0, 0),
            _ => (stat.stx_uid, stat.stx_gid),
        }
    }

    /// Whether an object on disk may carry a record. Only regular files and directories can have
    /// `user.*` attributes (xattr(7)).
    pub(crate) fn may_be_on(self, kind: FileKind, stat: &Statx) -> bool {
        match self {
            Self::None | Self::Untrusted => false,
            Self::Devices => kind == FileKind::Regular && stat.stx_size == 0,
            Self::All | Self::Older => matches!(kind, FileKind::Regular | FileKind::Directory),
            Self::Privileged => true,
        }
    }

    /// Whether a record is one that this mode writes.
    pub(crate) fn may_say(self, record: &OverrideStat) -> bool {
        let is_device = matches!(
            record.kind,
            Some(RecordKind::Block(..) | RecordKind::Char(..))
        );
        is_device || self != Self::Devices
    }

    /// Whether an object that is to show this kind and owner has to be a regular file with a record:
    /// it cannot be made by who uses such records, or could not carry the record that it needs.
    pub(crate) fn need_stand_in(self, kind: FileKind, owner: (u32, u32)) -> bool {
        match kind {
            FileKind::Regular | FileKind::Directory => false,
            FileKind::Block | FileKind::Char => self.are_believed(),
            FileKind::Symlink | FileKind::Fifo | FileKind::Socket => {
                self.keep_owners() && owner != (0, 0)
            }
        }
    }

    /// Whether attributes of a node of this kind are changed by changing its record.
    pub(crate) fn rule(self, kind: FileKind) -> bool {
        match self {
            Self::None | Self::Untrusted => false,
            Self::Devices => matches!(kind, FileKind::Block | FileKind::Char),
            Self::All | Self::Older | Self::Privileged => true,
        }
    }
}

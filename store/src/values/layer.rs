//! What the store knows of an unpacked layer, and what can be wrong with one.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::Digest;
use super::errno::reason;
use super::escape::escaped;
use crate::tar::{Fault, TarError};

/// How owners, modes and devices of a layer are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// Files belong to the ids the archive names, as the user namespace of the importer maps them.
    /// The importer is root there, or in the initial namespace.
    Real,
    /// Files belong to the importer; what they should look like is in `override_stat` records (see
    /// [`plyfs_format::override_stat`]). For those who have one id only.
    Override,
}

/// What `layer.json` says of a layer: facts that are cheap to know when it is unpacked and let a
/// mounter skip work. All counts are of what was written while unpacking; where an archive replaced
/// some of it again, less may be there, so that zero means "none" and more means "look".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The layer: SHA-256 of its uncompressed archive.
    pub diff_id: Digest,
    /// The size of the uncompressed archive, in bytes.
    pub size: u64,
    /// How owners are kept.
    pub ownership: Ownership,
    /// Whether its opaque directories are marked in `trusted.*`, which the superuser writes and reads,
    /// or in `user.*`. Layers of older stores do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// What is in it.
    #[serde(flatten)]
    pub facts: LayerFacts,
    /// The digest of the unpacked tree: names, kinds, modes, owners, times, attributes and data. Layers of older
    /// stores have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Digest>,
    /// Blobs that were found to unpack to this layer: the archive itself or compressed forms of it.
    pub blobs: Vec<Digest>,
}

/// What was met while unpacking a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of data in regular files.
    pub data: u64,
    /// `override_stat` records. There can be some in a layer with real ownership: devices that a
    /// user namespace does not allow to make.
    pub overrides: u64,
    /// Whiteouts: character devices 0/0.
    pub whiteouts: u64,
    /// Directories marked opaque, the root included.
    pub opaque: u64,
    /// Whether the root of the layer is opaque: nothing of the layers below is to be seen.
    pub opaque_root: bool,
    /// Extended attributes set, records of the overlay not counted.
    pub xattrs: u64,
    /// Extended attributes that could not be kept: the file system or the kernel refused them, or
    /// they were records of an overlay, which an archive may not bring along.
    pub xattrs_dropped: u64,
    /// Whether the archive has an entry for the root. If not, owner, mode and times of `diff/` say
    /// nothing, and those of the root in a layer below are meant.
    pub root_entry: bool,
}

/// A layer that is refused.
#[derive(Debug, Error)]
#[error("{}: {fault}", escaped(layer))]
pub struct LayerError {
    /// Which layer: by its digest or its name in an archive.
    pub layer: String,
    /// What is wrong.
    pub fault: LayerFault,
}

impl LayerError {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match &self.fault {
            LayerFault::Tar(error) => error.errno(),
            LayerFault::Entry { fault, .. } => fault.errno(),
            _ => None,
        }
    }
}

/// What is wrong with a layer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayerFault {
    /// The archive is broken.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// One entry is refused.
    #[error("entry \"{}\": {fault}", escaped(name))]
    Entry {
        /// Its name in the archive.
        name: Vec<u8>,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// The stream cannot be decompressed.
    #[error("it is not valid {kind}: {why}")]
    Compression {
        /// `gzip`, `zstd`, `xz` or `bzip2`.
        kind: &'static str,
        /// What the decompressor says.
        why: String,
    },
    /// What it unpacks to is not what the configuration names.
    #[error("it unpacks to {actual}, but the configuration of the image names {expected}")]
    DiffId {
        /// The DiffID in the configuration.
        expected: Digest,
        /// The digest of what came out.
        actual: Digest,
    },
    /// Too many bytes.
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Too many entries.
    #[error("it has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// Its directories need too much memory.
    #[error("it has too many directories")]
    TooManyDirectories,
}

/// What is wrong with an entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The archive is broken in the middle of it.
    #[error(transparent)]
    Tar(#[from] Fault),
    /// No name at all.
    #[error("the name is empty")]
    EmptyName,
    /// A name with `..` in it.
    #[error("the name leads out of the layer with \"..\"")]
    ParentReference,
    /// A component or path longer than the kernel takes.
    #[error("the name is too long")]
    NameTooLong,
    /// A directory on the way to it is a symbolic link, where none may be.
    #[error("its parent \"{}\" is a symbolic link", escaped(.0))]
    ParentIsLink(Vec<u8>),
    /// The directory it is in is reached through links that lead to each other.
    #[error("its parent \"{}\" leads through too many symbolic links", escaped(.0))]
    LinkLoop(Vec<u8>),
    /// Something on the way to it is no directory.
    #[error("its parent \"{}\" is not a directory", escaped(.0))]
    ParentNotDirectory(Vec<u8>),
    /// A `.wh.` that names no file, or one where a directory must be.
    #[error("a malformed whiteout")]
    Whiteout,
    /// The root of the layer as anything but a directory.
    #[error("the root of the layer must be a directory")]
    RootNotDirectory,
    /// A link without a target.
    #[error("a link without a target")]
    EmptyTarget,
    /// The name that a hard link leads to cannot be one.
    #[error("the target of the hard link is refused: {0}")]
    LinkTarget(Box<EntryFault>),
    /// A hard link to what is not in the layer, or not yet.
    #[error("the target \"{}\" of the hard link is not in the layer before it", escaped(.0))]
    LinkTargetMissing(Vec<u8>),
    /// A hard link to a directory.
    #[error("the target \"{}\" of the hard link is a directory", escaped(.0))]
    LinkTargetDirectory(Vec<u8>),
    /// A hard link to its own name.
    #[error("a hard link to itself")]
    LinkToItself,
    /// An owner that the user namespace does not map.
    #[error("its owner {uid}:{gid} has no id in this user namespace")]
    UnmappedOwner {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// An extended attribute that must be set could not be.
    #[error("cannot set the attribute \"{}\": {}", escaped(name), reason(*errno))]
    Xattr {
        /// Its name.
        name: Vec<u8>,
        /// Why.
        errno: Errno,
    },
    /// A system call failed.
    #[error("cannot {action}: {}", reason(*errno))]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        errno: Errno,
    },
}

impl EntryFault {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Xattr { errno, .. } | Self::System { errno, .. } => Some(*errno),
            Self::UnmappedOwner { .. } => Some(Errno::INVAL),
            _ => None,
        }
    }

    /// Wraps a failed system call.
    pub(crate) fn system(action: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { action, errno }
    }
}

//! What is wrong with a layer, and with an entry of it.

use rustix::io::Errno;
use thiserror::Error;

use crate::tar::{Fault, TarError};
use crate::values::{Digest, escaped, reason};

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

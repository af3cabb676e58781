//! What is wrong with a blob.

use rustix::io::Errno;
use thiserror::Error;

use crate::values::{Digest, escaped, reason};

/// A blob that is not what was promised.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlobError {
    /// It is not there.
    #[error("{} is missing", escaped(blob))]
    Missing {
        /// The blob or file.
        blob: String,
    },
    /// It has another size than its descriptor says.
    #[error("{} has {actual} bytes instead of {expected}", escaped(blob))]
    Size {
        /// The blob or file.
        blob: String,
        /// According to the descriptor, in bytes.
        expected: u64,
        /// In fact, in bytes.
        actual: u64,
    },
    /// It has another content than its name says.
    #[error("{} is corrupt: its digest is {actual}", escaped(blob))]
    Corrupt {
        /// The blob or file.
        blob: String,
        /// The digest of what is there.
        actual: Digest,
    },
    /// It is larger than a document of its kind may be.
    #[error("{} is larger than {limit} bytes", escaped(blob))]
    TooLarge {
        /// The blob or file.
        blob: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It cannot be read.
    #[error("cannot read {}: {}", escaped(blob), reason(*errno))]
    Read {
        /// The blob or file.
        blob: String,
        /// Why.
        errno: Errno,
    },
}

impl BlobError {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Read { errno, .. } => Some(*errno),
            Self::Missing { .. } => Some(Errno::NOENT),
            _ => None,
        }
    }
}

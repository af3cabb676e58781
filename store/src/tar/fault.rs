//! What can be wrong with an archive.

use std::fmt;

use rustix::io::Errno;
use thiserror::Error;

use super::input::InputError;
use crate::values::{escaped, limits};

/// An archive that is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct TarError {
    /// Where the header of the entry begins, in bytes from the start of the archive.
    pub offset: u64,
    /// The name of the entry, as far as it was known.
    pub name: Option<Vec<u8>>,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "entry \"{}\": {}", escaped(name), self.fault),
            None => write!(f, "{} (at byte {})", self.fault, self.offset),
        }
    }
}

impl TarError {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match self.fault {
            Fault::Input(InputError::Io(errno)) => Some(errno),
            _ => None,
        }
    }
}

/// A type flag, as a character.
fn shown_type(flag: &u8) -> String {
    format!("'{}'", escaped(std::slice::from_ref(flag)))
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The archive could not be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The stream ends inside an entry.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// The checksum of a header is wrong: this is no tar archive, or a damaged one.
    #[error("not a tar header: its checksum is wrong")]
    Checksum,
    /// A single block of zeros with more headers after it.
    #[error("a single block of zeros between entries")]
    LoneZeroBlock,
    /// A number field that is no number.
    #[error("the header field \"{0}\" is not a number")]
    Number(&'static str),
    /// A number that is negative or too large for what it says.
    #[error("the header field \"{0}\" is out of range")]
    Range(&'static str),
    /// A broken record in an extended header.
    #[error("a broken record in its extended header")]
    PaxRecord,
    /// A record of an extended header with a value that cannot be.
    #[error("an impossible value for \"{0}\" in its extended header")]
    PaxValue(&'static str),
    /// A record that would apply to all entries and makes no sense so.
    #[error("a global extended header sets \"{0}\" for every entry")]
    PaxGlobal(&'static str),
    /// Metadata larger than the limit.
    #[error("its metadata is larger than {limit} bytes")]
    MetadataTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A name with a NUL in it.
    #[error("its name holds a NUL")]
    NulInName,
    /// An extended attribute name or value that is too long.
    #[error("the extended attribute \"{}\" is too long", escaped(.0))]
    XattrTooLong(Vec<u8>),
    /// An entry type that layers do not have.
    #[error("an entry of the unknown type {}", shown_type(.0))]
    Type(u8),
    /// A sparse file whose map makes no sense.
    #[error("a broken sparse file map")]
    SparseMap,
}

impl Fault {
    /// Metadata over the limit of this crate.
    pub(super) fn metadata_too_large() -> Self {
        Self::MetadataTooLarge {
            limit: limits::TAR_METADATA,
        }
    }
}

//! What can go wrong, in one type.
//!
//! Every error says on one line what was wrong and with what; text that came from an image is
//! escaped. Where a system call failed, [`Error::errno`] has its number.

mod blob;
mod commit;
mod container;
mod layer;
mod remove;
mod save;
mod source;

pub use blob::BlobError;
pub use commit::CommitError;
pub use container::ContainerError;
pub use layer::{EntryFault, LayerError, LayerFault};
pub use remove::RemoveError;
pub use save::SaveError;
pub use source::SourceError;

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::oci::DocumentError;
use crate::remote::RemoteError;
use crate::values::{Digest, NameError, errno_of, escaped, escaped_path, reason};

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file failed.
    #[error("cannot {action} {}: {}", escaped_path(path), reason(*errno))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        errno: Errno,
    },
    /// The directory is not a store and cannot become one.
    #[error("{} is not a plyfs store: {why}", escaped_path(path))]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What speaks against it.
        why: &'static str,
    },
    /// There is nothing where the store should be.
    #[error(
        "there is no store at {} yet: nothing has been imported",
        escaped_path(path)
    )]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The store belongs to another user.
    #[error(
        "the store {} belongs to user {owner}, not to user {user}",
        escaped_path(path)
    )]
    ForeignStore {
        /// The store.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user.
        user: u32,
    },
    /// What the caller named as the source of an import cannot be one.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A manifest, index or configuration that is refused.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A blob that is not what its descriptor says.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer that is refused.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A name of an image that is unusable or unknown.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What is wrong with a container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// What cannot be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A place where an image cannot be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// Why an image is not removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// A record of the store that this crate wrote is not what it was.
    #[error("{} is damaged: {}", escaped_path(path), escaped(why))]
    DamagedRecord {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Neither the index of images nor its copy can be read, so that it is not known which images there are.
    #[error(
        "the index of images is lost: {} {why}, and there is no whole copy of it",
        escaped_path(path)
    )]
    LostIndex {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something that is damaged cannot be repaired.
    #[error("{0}")]
    NotRepaired(String),
    /// A damaged layer cannot be replaced, since what uses it would lose its files.
    #[error("layer {0} is damaged and in use: end what is mounted or runs on it first")]
    LayerInUse(Digest),
    /// What a remote could not give.
    #[error("{0}")]
    Remote(RemoteError),
    /// The progress listener asked for an end.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { errno, .. } => Some(*errno),
            Self::Blob(error) => error.errno(),
            Self::Layer(error) => error.errno(),
            _ => None,
        }
    }
}

/// Says what was tried with which file when a system call failed.
pub(crate) trait Context<T> {
    /// Wraps the error.
    fn context(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn context(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|errno| Error::Io {
            action,
            path: path.to_owned(),
            errno,
        })
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| errno_of(&error)).context(action, path)
    }
}

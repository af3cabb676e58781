//! Images that are not in files here: what a pull asks of the place they come from, as a registry.
//!
//! The store knows neither protocols nor credentials. What it gets is hostile: it checks every digest and size itself.

use std::fmt;

use crate::values::Digest;

/// Why a remote could not give something, in one line for the user.
pub type RemoteError = Box<dyn std::error::Error + Send + Sync>;

/// A document that a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteManifest {
    /// What the other side says it is.
    pub media_type: String,
    /// As they came.
    pub bytes: Vec<u8>,
}

/// One repository of images elsewhere, and a reference into it. Calls may block for as long as it takes, but not after
/// the user asked for an end.
pub trait Remote: fmt::Debug + Send + Sync {
    /// How the image is called in messages.
    fn name(&self) -> String;

    /// The registry and the repository, as `registry.example/path`: blobs of it can be mounted in other repositories
    /// of the registry.
    fn repository(&self) -> String;

    /// The manifest or index that the reference names, or that of this digest in the same repository. At most `limit`
    /// bytes are wanted.
    ///
    /// # Errors
    /// Whatever keeps it from coming.
    fn manifest(&self, digest: Option<&Digest>, limit: u64) -> Result<RemoteManifest, RemoteError>;

    /// Begins to read a blob of `size` bytes at a position, in bytes.
    ///
    /// # Errors
    /// Whatever keeps it from coming.
    fn blob(
        &self,
        digest: &Digest,
        size: u64,
        position: u64,
    ) -> Result<Box<dyn RemoteBlob>, RemoteError>;
}

/// A blob that comes. A remote that can does not fail when a connection breaks, but goes on by itself.
pub trait RemoteBlob: Send {
    /// The next bytes; none at the end only.
    ///
    /// # Errors
    /// Whatever keeps them from coming.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RemoteError>;
}

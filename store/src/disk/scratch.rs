//! Directories for the caller to work in.

use std::path::Path;

use super::staging::Staging;
use super::store::Store;
use crate::error::Result;

/// A private directory for what a command needs besides a mount, removed when dropped; if the process dies
/// first, the next process that works in the store removes it.
#[derive(Debug)]
pub struct Scratch(Staging);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Store {
    /// Makes a private directory.
    ///
    /// # Errors
    /// Those of mkdir(2) in the store, as on a full or read-only disk.
    pub fn scratch(&self) -> Result<Scratch> {
        Ok(Scratch(self.stage()?))
    }
}

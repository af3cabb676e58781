//! Where an image cannot be saved.

use std::path::PathBuf;

use thiserror::Error;

use crate::values::{ImageName, escaped_path};

/// A place where an image cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// There is a file already.
    #[error("{} is there already; remove it or choose another name", escaped_path(.0))]
    Exists(PathBuf),
    /// A directory with something else in it.
    #[error(
        "{} is no OCI image layout, and not empty; choose an empty or a new directory",
        escaped_path(.0)
    )]
    NotALayout(PathBuf),
    /// A link or a file where the layout has a directory.
    #[error(
        "{} is no directory; remove it, or choose another directory to save to",
        escaped_path(.0)
    )]
    NotADirectory(PathBuf),
    /// A name with which an image cannot be saved.
    #[error("the image is in the store as {0} only; import it again, which unpacks its layers")]
    NotUnpacked(ImageName),
}

//! Why an image is not removed.

use thiserror::Error;

use crate::values::{ContainerName, Digest};

/// Why an image is not removed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// Containers stand on it, and it has no other name.
    #[error("the image {name} is used by the container {}", list(containers))]
    Used {
        /// The image.
        name: String,
        /// They.
        containers: Vec<ContainerName>,
    },
    /// It is mounted, or a command runs in it, without a container that has a name.
    #[error("the image {0} is in use: it is mounted, or a command runs in it")]
    Held(String),
    /// It is named by its digest, and has several names.
    #[error("the image {digest} has several names: {}", names.join(", "))]
    SeveralNames {
        /// Its manifest.
        digest: Digest,
        /// They.
        names: Vec<String>,
    },
}

pub(super) fn list(names: &[ContainerName]) -> String {
    let names: Vec<&str> = names.iter().map(ContainerName::as_str).collect();
    names.join(", ")
}

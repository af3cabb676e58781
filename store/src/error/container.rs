//! What is wrong with a container.

use thiserror::Error;

use crate::values::ContainerName;

/// What is wrong with a container.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// No container of that name.
    #[error("there is no container \"{0}\"")]
    Unknown(ContainerName),
    /// The name is taken.
    #[error("there is a container \"{0}\" already")]
    Exists(ContainerName),
    /// A process holds its lock: it is mounted.
    #[error("the container \"{0}\" is in use")]
    Busy(ContainerName),
    /// No free name was found.
    #[error("no free name for a container was found; give it one")]
    NoFreeName,
}

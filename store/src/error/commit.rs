//! What cannot be committed.

use thiserror::Error;

use crate::values::escaped;

/// What cannot be committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A name that means a removed file in an archive.
    #[error(
        "\"{}\" cannot be in an image: names that begin with .wh. stand for removed files there; \
         rename it",
        escaped(.0)
    )]
    Name(Vec<u8>),
    /// Not a change of a configuration.
    #[error(
        "\"{}\" is no change that can be made: write CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, \
         USER, VOLUME or WORKDIR as in a Dockerfile",
        escaped(.0)
    )]
    Change(String),
    /// The configuration of the base image is no JSON object.
    #[error("the configuration of the image cannot be read")]
    Base,
}

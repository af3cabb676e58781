//! References as a registry takes them.

use std::str::FromStr;

use super::digest::Digest;
use super::name::NameError;
use super::reference::{Reference, split_domain};

/// A reference to an image in a registry, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReference {
    /// The registry, if the reference names one.
    pub domain: Option<String>,
    /// The repository there, with what Docker fills in for its own registry.
    pub path: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest, which then says which image it is.
    pub digest: Option<Digest>,
}

impl FromStr for RegistryReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let reference = Reference::parse(text).map_err(|_| NameError::Image(text.to_owned()))?;
        let (domain, path) = split_domain(&reference.repository);
        Ok(Self {
            domain: domain.map(str::to_owned),
            path: path.to_owned(),
            tag: reference.tag,
            digest: reference.digest,
        })
    }
}

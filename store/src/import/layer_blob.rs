//! The blob that a layer turned out to be.

use crate::decode::Format;
use crate::values::Digest;

/// The blob that a layer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerBlob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) format: Format,
}

//! The store on disk: its directories, locks and records, and how a file gets there durably.

mod blob;
mod blob_digest;
mod document;
mod download;
mod fill;
mod index;
mod layer;
mod origins;
mod remove_tree;
mod scratch;
mod seal;
mod share;
mod staging;
mod store;
mod tree;
mod tree_digest;
mod tree_facts;
mod tree_walk;

pub(crate) use blob::{Content, blob_label, read_error, size_error};
pub(crate) use blob_digest::{blob_digest, digest_of};
pub(crate) use document::{parse_json, read_document};
pub(crate) use download::Download;
pub(crate) use fill::fill;
pub(crate) use index::IndexState;
pub use layer::LayerPath;
pub(crate) use remove_tree::remove_tree;
pub use scratch::Scratch;
pub(crate) use seal::{Seal, read_record, restored, seal, unseal};
pub use share::ImageHold;
pub(crate) use share::StoreShare;
pub(crate) use staging::{Staging, discard, lock, open_dir, sweep, sync_dir};
pub(crate) use store::MARKER;
pub use store::Store;
pub(crate) use tree::Tree;
#[cfg(test)]
pub(crate) use tree::is_at_or_below;
pub use tree_digest::Difference;
pub(crate) use tree_digest::{differences, tree_digest};

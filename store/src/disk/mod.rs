//! The store on disk: its directories, locks and records, and how a file gets there durably.

mod blob;
mod index;
mod remove_tree;
mod seal;
mod share;
mod staging;
mod store;
mod tree;
mod tree_digest;

pub use blob::BlobError;
pub(crate) use blob::{Content, blob_label, read_error, size_error};
pub(crate) use index::IndexState;
pub(crate) use remove_tree::remove_tree;
pub(crate) use seal::{Seal, read_record, restored, seal, unseal};
pub use share::ImageHold;
pub use staging::Scratch;
pub(crate) use staging::{Staging, discard, lock, sweep, sync_dir};
pub use store::Store;
pub(crate) use store::{EMPTY, MARKER, parse_json, read_document, to_json};
pub(crate) use tree::Tree;
#[cfg(test)]
pub(crate) use tree::is_at_or_below;
pub use tree_digest::Difference;
pub(crate) use tree_digest::{differences, tree_digest};

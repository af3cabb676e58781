//! Checking a store, and repairing what is damaged.
//!
//! Nothing here trusts that what exists is whole: blobs and documents are read and compared with their digests,
//! records with their seals, the index with its copy, and every unpacked layer with the digest of its tree, or with
//! what its blob unpacks to.
//!
//! # Repairs
//!
//! Each object has its own sources, tried in this order:
//!
//! - a document or record that is damaged in one bit: itself ([`restore_bit`](crate::values::restore_bit));
//! - the index: its copy, and the reverse;
//! - a blob: the image it came from, if the caller names it;
//! - an unpacked layer and its record: a whole blob of it, from the store or from that image;
//! - a damaged blob that nothing needs is removed.
//!
//! # Invariants
//!
//! - What is put in the place of something damaged has been verified, and appears in one step, as in an import.
//! - A layer is not replaced while something that is mounted stands on it.
//! - A check without repair changes nothing but work in progress.

mod blob;
mod container;
mod document;
mod finding;
mod index;
mod job;
mod layer;
mod replace;
mod run;

pub use finding::{CheckFault, CheckReport, CheckedObject, Finding, Remedy, RepairedFrom};
pub use job::CheckRequest;

//! Importing an image: from a source to blobs, layers and a name in the store.
//!
//! A layer that is not in the store yet passes through a pipeline of up to three threads: one
//! reads, hashes, keeps and decompresses the blob; one hashes what comes out; one takes the archive
//! apart and writes files. Several layers do so at a time.
//!
//! # Invariants
//!
//! - Source files may change while they are read, and may be written by others: what is verified is
//!   what was read, and what is kept is what was verified. No file of the store is ever shared with
//!   one that another process can write.
//! - A layer is published after its blob has matched digest and size and its uncompressed stream
//!   the DiffID, both read to their ends, and after everything has been synced.
//! - What the store has already is verified before it is skipped, and replaced if it is damaged.
//! - An import that fails or is killed leaves nothing but published layers and blobs, which the
//!   next one does not read again, and a locked staging directory, which the next one removes.

mod documents;
mod fetch;
mod job;
mod keep;
mod layer;
mod layer_blob;
mod pipe;
mod pipeline;
mod plan;
mod present;
mod run;
mod stream;
mod sync;

pub(crate) use job::Terms;
pub use job::{ImportRequest, Imported, PullRequest};
pub(crate) use layer::Again;

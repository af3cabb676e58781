//! Committing: what was changed in a container becomes a layer, and that with its image a new one.
//!
//! The caller reads the changes and hands them over entry by entry ([`LayerWriter`]); nothing here
//! knows of overlays that are mounted. The layer is written to the staging directory, and then goes
//! the way of every other: it is imported, with all that is verified on that way.
//!
//! # Invariants
//!
//! - The same entries, base and request make the same digests.
//! - An image that was committed can be run at once.
//! - Killing a commit leaves nothing but what the next work in the store removes.

mod change;
mod config;
mod layer;
mod request;
mod run;

pub use change::ConfigChange;
pub use layer::{EntryContent, LayerEntry, LayerWriter};
pub use request::CommitRequest;

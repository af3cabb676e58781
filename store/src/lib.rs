//! The image store of plyfs.
//!
//! Under construction: the rooms are moved in one by one.

mod digest;
mod errno;
mod escape;
mod layer;
mod limits;
mod remove;
mod tar;
mod time;
mod unpack;

pub use digest::{Digest, DigestError, chain_ids};
pub use escape::{Escaped, escaped};
pub use layer::{EntryFault, LayerError, LayerFacts, LayerFault, LayerRecord, Ownership};
pub use limits::Limits;
pub use tar::{Fault, InputError, TarError};
pub use time::Timestamp;

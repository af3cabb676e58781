//! The image store of plyfs.
//!
//! Under construction: the rooms are moved in one by one.

mod digest;
mod errno;
mod escape;
mod limits;
mod tar;
mod time;

pub use digest::{Digest, DigestError, chain_ids};
pub use escape::{Escaped, escaped};
pub use limits::Limits;
pub use tar::{Fault, InputError, TarError};
pub use time::Timestamp;

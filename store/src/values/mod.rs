//! Plain values: they know no file, no document and no store.

mod bit;
mod container;
mod digest;
mod errno;
mod escape;
mod json;
mod json_path;
mod layer;
pub(crate) mod limits;
mod name;
mod reference;
mod registry_reference;
mod time;

pub(crate) use bit::restore_bit;
pub use container::ContainerRecord;
pub use digest::{Digest, DigestError, chain_ids};
pub(crate) use digest::{Hashed, Hasher};
pub(crate) use errno::{errno_of, reason};
pub(crate) use escape::escaped_path;
pub use escape::{Escaped, escaped};
pub(crate) use json::to_json;
pub(crate) use json_path::JsonPath;
pub use layer::{LayerFacts, LayerRecord, Ownership};
pub use limits::Limits;
pub use name::{ContainerName, ImageName, NameError};
pub(crate) use name::{is_layout_ref, repositories, similar, spellings};
pub(crate) use reference::{LATEST, Reference, is_component, is_tag};
pub use registry_reference::RegistryReference;
pub use time::Timestamp;

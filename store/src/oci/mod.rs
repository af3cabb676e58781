//! The documents of an image: index, manifest, configuration, and the descriptors that tie them
//! together (OCI image specification; Docker image manifest version 2, schema 2).
//!
//! # Invariants
//!
//! - A document is parsed only after its digest and size have been checked against the descriptor
//!   that named it; only `index.json` itself has none.
//! - What a document says it is and what it holds must agree, and nothing may be read as two kinds
//!   of document (CVE-2021-41190).

mod descriptor;
mod document;
mod media;
mod platform;

pub(crate) use descriptor::{Descriptor, REF_NAME};
pub use document::DocumentError;
pub(crate) use document::{Index, Manifest, index_of, kind_of, manifest_of, parse_config, refuse};
pub use media::Compression;
#[cfg(feature = "fixture")]
pub(crate) use media::INDEX;
pub(crate) use media::{
    DocumentType, IMAGE_CONFIG, MANIFEST, is_config, layer_media_type, layer_type,
};
pub use platform::{Platform, PlatformError};

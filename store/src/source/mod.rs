//! Where an image comes from.
//!
//! Three forms are read, all of them without unpacking them first: an OCI image layout in a
//! directory, the same in a tar archive, and the archives of `docker save`. A [`Found`] image is
//! what they have in common: verified documents, and layers that are still to be read.

mod archive;
mod docker;
mod files;
mod layout;
mod select;
mod spec;

pub(crate) use files::open_regular;
pub(crate) use files::{Files, blob_file};
pub(crate) use layout::{is_marker, layers as found_layers};
pub(crate) use spec::{Document, Found, FoundLayer, diff_ids, platform_of};
pub use spec::{Form, Source, SourceError};

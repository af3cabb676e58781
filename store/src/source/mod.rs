//! Where an image comes from.
//!
//! Three forms are read, all of them without unpacking them first: an OCI image layout in a
//! directory, the same in a tar archive, and the archives of `docker save`. A [`Found`] image is
//! what they have in common: verified documents, and layers that are still to be read.

mod archive;
mod docker;
mod files;
mod find;
mod found;
mod layout;
mod outline;
mod remote;
mod select;
mod spec;

pub(crate) use files::{Files, blob_file, open_regular};
pub(crate) use found::{Document, Found, FoundLayer, diff_ids, platform_of};
pub(crate) use layout::{is_marker, layers as found_layers};
pub use outline::{Outline, OutlinedLayer};
pub(crate) use remote::find_remote;
pub use spec::{Form, Source};

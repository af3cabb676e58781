//! Containers: an upper and a work directory of their own above the layers of an image.

mod handle;
pub(crate) mod places;

pub(crate) use handle::generated_name;
pub use handle::{Container, ContainerLock, TemporaryContainer};
pub(crate) use places::PlacesRecord;

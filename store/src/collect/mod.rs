//! What images and containers need of the store, how much space it takes, and the removal of the rest.

mod reach;
mod unneeded;
mod usage;

pub(crate) use reach::Reach;
pub use unneeded::{Collected, Unneeded};
pub use usage::{ContainerUsage, ImageUsage, Room, Usage};

//! Containers in use: who uses them, and what they have only to be mounted on.

pub(crate) mod live;
pub(crate) mod places;
pub(crate) mod signal;

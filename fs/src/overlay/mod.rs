//! The overlay, and what every operation needs.

pub(crate) mod open;
mod shown_path;

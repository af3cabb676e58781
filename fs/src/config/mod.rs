//! What an overlay is made of, and how it behaves.

pub(crate) mod ids;
pub(crate) mod override_stat_mode;

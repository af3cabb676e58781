//! Ways to answer sooner while requests come quickly.

pub(crate) mod burst;
pub(crate) mod colocate;
pub(crate) mod spin;

//! Answering sooner while requests follow each other (`docs/design/latency.md`).
//!
//! The reader reports each request to the [`Observer`](burst::Observer), in one place. In a burst a second
//! thread, the watcher, [colocates](colocate) reader and client or has the reader [spin].

pub(crate) mod burst;
pub(crate) mod colocate;
pub(crate) mod spin;

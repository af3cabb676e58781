//! Answering sooner while requests follow each other (`docs/design/latency.md`).
//!
//! The reader reports each request to the [`Observer`](observer::Observer), in one place. In a burst a second
//! thread, the watcher, [colocates](colocate) reader and client or has the reader [spin].

mod binding;
pub(crate) mod burst;
mod clock;
pub(crate) mod colocate;
pub(crate) mod observer;
mod spin;

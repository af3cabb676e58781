//! What runs now: mounts and containers.

mod entry;

pub use entry::{LiveEntry, LiveKind, LiveRecord, LiveRequest, Namespaces, ProcessId};

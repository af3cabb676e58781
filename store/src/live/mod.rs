//! What is live: mounts and running containers, with the process that serves each of them.
//!
//! A mount may be in a mount namespace that no other process is in. Its record in `live/ID.json` says
//! which process serves it and where, so that other commands can list it, name it in a message and end it.
//!
//! # Invariants
//!
//! - The serving process holds an exclusive lock (flock(2)) on the file of its record for as long as it
//!   lives. A record whose lock is free is stale, however its process ended, and [`Store::live`](crate::Store::live) removes it.
//! - A record appears and changes in one step, and is locked before it appears: a file is made under
//!   another name, locked, written, and then linked or renamed to its name.
//! - A file is unlinked only under its own lock, after a look whether its name still leads to it.
//! - An id is the name of a container, or a generated name that no container has.
//!
//! The lock goes along to children of fork(2), as that of a container does. It may be held for a moment
//! after the serving process has ended; [`ProcessId::open`] tells. Records are not synced: none
//! outlives its process, let alone the machine.

mod entry;
mod file;
mod list;
mod process;
mod record;

pub use entry::LiveEntry;
pub use process::{Namespaces, ProcessId};
pub use record::{LiveKind, LiveRecord, LiveRequest};

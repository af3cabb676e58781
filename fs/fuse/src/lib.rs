//! plyfs-fuse: a thin adapter between the protocol and the [`Overlay`](plyfs_fs::Overlay).
//!
//! It opens no device and mounts nothing: it is given the descriptor of a FUSE connection and serves
//! it until it is unmounted. Three ideas make it fast, all of them requests that are never sent
//! ([`SuppressedRequest`] lists them):
//!
//! - **No open.** Opening and closing are answered with `ENOSYS` once, and never asked again; reads
//!   and writes name the node (`FUSE_NO_OPEN_SUPPORT`). Creation is `MKNOD`.
//! - **Long lives.** All changes come through this mount, so names, their absence and attributes
//!   may be cached by the kernel until it makes a change itself. What the overlay changes besides (a
//!   copy-up gives directories above another ctime) it announces before it answers the request.
//! - **No sync of what does not last.** On a volatile overlay, and in memory, fsync(2) sends what was
//!   gathered, and nothing else.
//!
//! One thread reads requests and answers what takes a few system calls; what may take long (copying
//! data up, reading from a disk, fsync) goes to a pool of threads, so that it never holds up a
//! lookup. More readers scatter requests over processors that have to be woken for each; and while
//! requests come one right after the other, no processor is woken for them at all ([`Observer`]).
//!
//! # Where a request goes
//!
//! `filesystem` takes it on and translates it. `schedule` makes the change now, later, or again when there is
//! space. `reply` answers, and logs what. Nothing else answers a request.

mod adapter;
mod attributes;
mod capabilities;
mod convert;
mod data;
mod filesystem;
mod ioctl;
mod latency;
mod listers;
mod listing;
mod notify;
mod options;
mod passthrough;
mod pool;
mod reply;
mod schedule;
mod session;
mod suppressed;

pub use latency::burst::Work;
pub use latency::observer::Observer;
pub use options::Options;
pub use session::Session;
pub use suppressed::{EnabledRequests, SuppressedRequest};

//! What an operation fails with.
//!
//! An operation on a mounted overlay fails with an [`Errno`], because that is all its caller, a
//! system call, can be told. Opening an overlay fails with a [`MountError`](crate::MountError), which a
//! person reads.

pub use rustix::io::Errno;

/// The result of an operation on the overlay.
pub type Result<T> = std::result::Result<T, Errno>;

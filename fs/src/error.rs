//! What an operation fails with.
//!
//! An operation on a mounted overlay fails with an [`Errno`], because that is all its caller, a
//! system call, can be told. Opening an overlay fails with a [`MountError`](crate::MountError), which a
//! person reads.

use std::cell::Cell;
use std::panic::Location;

pub use rustix::io::Errno;

thread_local! {
    /// The last error that this thread decided on, and where.
    static DECIDED: Cell<Option<(Errno, &'static Location<'static>)>> = const { Cell::new(None) };
}

/// An error that plyfs itself decides on, unlike one that a system call returned. With debug logging, the line of
/// the answer names the place that called this.
#[track_caller]
pub(crate) fn decided(error: Errno) -> Errno {
    if log::log_enabled!(log::Level::Debug) {
        DECIDED.set(Some((error, Location::caller())));
    }
    error
}

/// Where this thread `decided` on this error, if it did since this was last called.
pub fn take_site(error: Errno) -> Option<&'static Location<'static>> {
    let (last, site) = DECIDED.take()?;
    (last == error).then_some(site)
}

/// The result of an operation on the overlay.
pub type Result<T> = std::result::Result<T, Errno>;

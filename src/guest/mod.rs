//! What the commands share that start a program in a container (`run`, `exec`) or prepare one (`bundle`).
//!
//! - [`host`]: what a configuration needs to know of this machine and the caller.
//! - [`files`]: the files that plyfs gives a container.
//! - [`attend`]: keeping the caller's things from a container, waiting for it, and passing signals and the
//!   terminal on.
//!
//! Nothing here knows the arguments of a command. It stands on [`crate::runtime`] and [`crate::oci`].

pub(crate) mod attend;
pub(crate) mod files;
pub(crate) mod host;

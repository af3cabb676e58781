//! Mounting: what is asked for, what serves it, and how: by the kernel's overlay or over a FUSE
//! connection, with a process that keeps or serves the mount.

pub(crate) mod backend;
pub(crate) mod connection;
pub(crate) mod daemon;
pub(crate) mod hindrance;
mod inherited;
pub(crate) mod keeper;
pub(crate) mod kernel;
pub(crate) mod options;
pub(crate) mod table;
pub(crate) mod traces;
pub(crate) mod wish;

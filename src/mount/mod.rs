//! Mounting: what is asked for, the FUSE connection it needs, and the daemon that serves it.

pub(crate) mod connection;
pub(crate) mod daemon;
pub(crate) mod options;

//! The operations: one file a system call.

pub(crate) mod changing;
pub(crate) mod copy_up;
pub(crate) mod create;
pub mod data;
pub(crate) mod detach;
pub(crate) mod diff;
pub(crate) mod ioctl_flags;
pub(crate) mod lookup;
pub(crate) mod lookup_layers;
pub(crate) mod readdir;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod setattr;
pub(crate) mod xattr;

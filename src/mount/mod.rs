//! Mounting: what is asked for, what serves it, and how: by the kernel's overlay or over a FUSE
//! connection, with a process that keeps or serves the mount.

pub(crate) mod backend_choice;
pub(crate) mod choose;
pub(crate) mod fuse_mount;
mod inherited;
pub(crate) mod kernel_overlay;
pub(crate) mod mountinfo;
pub(crate) mod obstacles;
pub(crate) mod option_table;
mod option_values;
pub(crate) mod options;
pub(crate) mod plan;
pub(crate) mod server;
pub(crate) mod serving;
pub(crate) mod upper_scan;

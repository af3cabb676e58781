//! The operations: one file a system call. These are the public methods of [`Overlay`](crate::Overlay), and the top
//! floor: nothing in this crate uses it.

mod clear_whiteouts;
mod copy_complete;
mod copy_source;
mod copy_stage;
mod copy_up;
mod copy_xattrs;
mod create;
mod data;
mod detach;
mod diff;
mod gathered;
mod hide;
mod hold;
mod indexed;
mod ioctl_flags;
mod layer_entry;
mod leave;
mod link;
mod link_up;
mod lookup;
mod lookup_layers;
mod over_whiteout;
mod readdir;
mod redirect;
mod remove;
mod rename;
mod replace;
mod setattr;
mod slow;
mod staging_dir;
mod upper_parent;
mod xattr;

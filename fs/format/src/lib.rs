//! On-disk formats of overlay layers.
//!
//! The union file system reads these and writes some of them; the image store writes them when it
//! unpacks a layer. Both use this crate, so that there is one spelling of each name. Nothing here
//! does I/O: names and values go in, names and values come out.
//!
//! - [`whiteout`]: a removed name, and a directory that hides the ones below it.
//! - [`names`]: the extended attributes that belong to the overlay and not to its users.
//! - [`handle`]: the file a copy comes from, as a record names it.
//! - [`protattr`]: files that nobody may change.
//! - [`override_stat`]: owner, mode and device numbers kept in an extended attribute, for layers
//!   written by somebody who may not `chown(2)`.
//!
//! Sources: `Documentation/filesystems/overlayfs.rst` of the kernel; the OCI image specification,
//! "Image Layer Filesystem Changeset"; containers-storage for `override_stat`.

pub mod handle;
pub mod names;
pub mod override_stat;
pub mod protattr;
pub mod whiteout;

//! On-disk formats of overlay layers.
//!
//! The union file system reads these and writes some of them; the image store writes them when it
//! unpacks a layer. Both use this crate, so that there is one spelling of each name. Nothing here
//! does I/O: names and values go in, names and values come out.
//!
//! - [`whiteout`]: a removed name, and a directory that hides the ones below it.
//! - [`names`]: the extended attributes that belong to the overlay and not to its users.
//! - [`handle`]: the file a copy comes from, as a record names it.
//! - [`protattr`]: files that are protected from changes.
//! - [`override_stat`]: owner, mode and device numbers kept in an extended attribute, for layers
//!   whose writer may not `chown(2)`.
//!
//! Sources: `Documentation/filesystems/overlayfs.rst` of the kernel; the OCI image specification,
//! "Image Layer Filesystem Changeset"; containers-storage for `override_stat`.
//!
//! ```
//! use plyfs_format::override_stat::OverrideStat;
//! use plyfs_format::whiteout::{ArchiveName, is_whiteout};
//!
//! // In an archive a whiteout is a name, on disk a character device 0/0.
//! assert_eq!(ArchiveName::parse(b".wh.motd"), ArchiveName::Whiteout(b"motd"));
//! assert!(is_whiteout(0o020_000, 0, 0));
//!
//! // The owner and the mode to show, where the file cannot have them.
//! let shown = OverrideStat::parse(b"0:42:4755");
//! assert_eq!(shown.map(|shown| (shown.gid, shown.mode)), Some((42, 0o4755)));
//! ```

pub mod handle;
pub mod names;
pub mod override_stat;
pub mod protattr;
pub mod whiteout;

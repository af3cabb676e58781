//! plyfs-fs: the union file system of plyfs.
//!
//! An [`Overlay`] shows a stack of directories as one, the way the kernel's overlayfs does
//! (`Documentation/filesystems/overlayfs.rst`): names are looked up from the top, directories of the
//! same name are merged, and every change goes to the upper directory. It knows no FUSE types and needs
//! no mount. The crate `plyfs-fuse` serves it to the kernel; another transport could stand beside it.
//!
//! # Concepts
//!
//! - A **layer** is a directory; lower layers are only read, the upper layer takes the changes.
//! - A **node** is a file that the kernel knows, from its first lookup until it is forgotten. Operations
//!   name nodes by id and files by their parent's id and a name.
//! - A **whiteout** hides a name of the layers below; an **opaque** directory hides all of them.
//! - **Copy-up** makes a file of a lower layer a file of the upper one, before its first change.
//!
//! # Invariants
//!
//! - Nothing in a lower layer is ever opened for writing, nor changed in any other way.
//! - A change is made in the work directory, complete, and published by one rename or link.
//! - No operation panics; what fails returns the error number a system call would.
//!
//! The locks and their order are described in `inode`.
//!
//! # Example
//!
//! A file of a lower layer is copied up by the first write, and the lower layer stays as it was:
//!
//! ```
//! use std::fs;
//!
//! use plyfs_fs::file::WriteMode;
//! use plyfs_fs::{Config, LowerLayer, Marks, Overlay, Records, UpperLayer};
//!
//! let dir = tempfile::tempdir()?;
//! let path = |name: &str| dir.path().join(name);
//! for name in ["lower", "upper", "work"] {
//!     fs::create_dir(path(name))?;
//! }
//! fs::write(path("lower/greeting"), "hello")?;
//!
//! let overlay = Overlay::open(&Config {
//!     lowers: vec![LowerLayer::new(path("lower"))],
//!     upper: Some(UpperLayer {
//!         path: path("upper"),
//!         work: path("work"),
//!         records: Records::None,
//!         marks: Marks::Own,
//!         archive_names: false,
//!     }),
//!     ..Config::default()
//! })?;
//! let file = overlay.lookup(overlay.root(), "greeting".as_ref())?;
//! overlay.write(file.id, 0, b"J", WriteMode::default())?;
//!
//! assert_eq!(fs::read(path("upper/greeting"))?, b"Jello");
//! assert_eq!(fs::read(path("lower/greeting"))?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apart;
pub mod attr;
mod changing;
mod copy_data;
mod copy_up;
mod create;
mod cut_off;
mod error;
mod fd_cache;
pub mod file;
mod file_flags;
mod gathered;
mod hash;
mod ids;
mod in_use;
mod index;
mod inode;
pub mod interrupt;
mod kernel_mark;
mod layer;
mod lend;
mod listing;
mod lookup;
mod marks;
mod moves;
mod nodes;
mod number;
mod object;
mod origin;
mod overlay;
mod provenance;
mod readdir;
mod records;
mod redirect;
mod remove;
mod rename;
mod room;
mod search;
mod setattr;
mod shown_path;
mod stage;
mod trap;
mod tree;
mod whiteout;
mod work;
mod xattr;

pub use copy_up::Change;
pub use error::{Errno, MountError, Result, take_site};
pub use fd_cache::reserve as reserve_descriptors;
pub use ids::{IdRange, Ids, Owners, ShownIds};
pub use index::IndexUse;
pub use kernel_mark::{MarkedUpper, mark_served_by_kernel, was_served_by_kernel};
pub use layer::{LowerLayer, MAX_LOWER, Marks};
pub use lookup::Entry;
pub use number::ROOT_ID;
pub use overlay::{Config, Overlay, UpperLayer, Volatile};
pub use readdir::{DirEntry, Room, Wants};
pub use records::Records;
pub use redirect::RedirectDir;
pub use rename::Patience;

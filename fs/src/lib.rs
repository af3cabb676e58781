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
//! # Floors
//!
//! The modules are floors: each uses those below it and none above. No files import each other in a circle.
//!
//! | floor | what it knows |
//! |---|---|
//! | `ops` | one file an operation: what a system call does |
//! | `overlay` | the [`Overlay`], and what every operation needs: where an object is, what it shows, what a directory lists |
//! | `inode` | the nodes in memory, and their locks, whose order `inode::node` describes |
//! | `layer` | what is on disk and what it means: whiteouts, xattrs of overlays, the index, the work directory |
//! | `disk` | system calls on objects, however they are reached |
//! | `config` | what an overlay is made of: [`Config`] |
//! | [`types`] | what operations take and return; with `error`, what they fail with |
//!
//! # Example
//!
//! A file of a lower layer is copied up by the first write, and the lower layer stays as it was:
//!
//! ```
//! use std::fs;
//!
//! use plyfs_fs::types::WriteMode;
//! use plyfs_fs::{Config, LowerLayer, Overlay, OverrideStatMode, UpperLayer, XattrTrust};
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
//!         records: OverrideStatMode::None,
//!         marks: XattrTrust::Own,
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

mod config;
mod disk;
mod error;
mod inode;
mod layer;
mod open_error;
mod ops;
mod overlay;
pub mod types;

pub use disk::interrupt;

pub use config::ids::{IdRange, Ids, Owners, ShownIds};
pub use config::override_stat_mode::OverrideStatMode;
pub use config::{
    Config, IndexUse, LowerLayer, MAX_LOWER, MarkedUpper, RedirectDir, UpperLayer, Volatile,
    XattrTrust,
};
pub use disk::fd_cache::reserve as reserve_descriptors;
pub use error::{Errno, Result, take_site};
pub use layer::kernel_mark::{mark_served_by_kernel, was_served_by_kernel};
pub use open_error::MountError;
pub use overlay::Overlay;
pub use types::{Change, DirEntry, Entry, Fill, MayBlock, ROOT_ID, Wants};

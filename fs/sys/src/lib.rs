//! The system calls plyfs needs and `rustix` does not have.
//!
//! This is the one crate of plyfs with unsafe code. Everything it exports is safe to call: where a
//! call has a condition that the type system cannot hold (a process must have one thread before it
//! forks), the function checks it and fails.
//!
//! - [`attributes`]: what chattr(1) and xfs_io(8) show of a file.
//! - [`handle`]: file handles, and the UUIDs of file systems.
//! - [`inherited`]: descriptors that this process was started with.
//! - [`keyring`]: session keyrings.
//! - [`mapping`]: shared mappings of files.
//! - [`memory`]: how memory is allocated.
//! - [`mount`]: attributes of mounts.
//! - [`network`]: the loopback device.
//! - [`process`]: fork, namespaces, and waiting for signals.
//! - [`seccomp`]: filters of system calls.
//! - [`thread`]: file creation mask of one thread.
//! - [`uring`]: whether there is an io_uring.
//! - [`writeback`]: writing a part of a file back to its disk.
//! - [`xattr`]: extended attributes of a name below a directory descriptor, or of an `O_PATH`
//!   descriptor.
//!
//! ```
//! use std::fs::File;
//! use std::os::fd::AsFd;
//!
//! use plyfs_sys::xattr::{At, get_all};
//!
//! // The attribute of a name below a directory, without a path to it and without following a link.
//! let dir = tempfile::tempdir()?;
//! File::create(dir.path().join("file"))?;
//! let open = File::open(dir.path())?;
//! let value = get_all(At::Name(open.as_fd(), b"file"), c"user.colour")?;
//! assert_eq!(value, None);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod attributes;
pub mod handle;
pub mod inherited;
pub mod keyring;
pub mod mapping;
pub mod memory;
pub mod mount;
pub mod network;
pub mod process;
pub mod seccomp;
pub mod thread;
pub mod uring;
pub mod writeback;
pub mod xattr;
mod xattrat;

/// An error number, as system calls return it.
pub type Result<T> = std::result::Result<T, rustix::io::Errno>;

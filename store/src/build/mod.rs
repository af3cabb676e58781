//! Building images.
//!
//! From layers described in memory this makes what other tools write and [`Store::import`] reads: an
//! OCI image layout in a directory or an archive, or an archive as of `docker save`. The same
//! description gives the same bytes, so that digests are stable.
//!
//! [`Store::import`]: crate::Store::import
//!
//! ```
//! use plyfs_store::build::{Config, Entry, ImageBuilder, Layer};
//! use plyfs_store::Compression;
//!
//! let base = Layer::new([
//!     Entry::dir("etc"),
//!     Entry::file("etc/hostname", "box\n").owner(0, 0).mode(0o600),
//! ]);
//! let change = Layer::new([Entry::dir("etc"), Entry::whiteout("etc/hostname")]);
//! let image = ImageBuilder::new()
//!     .layer(base, Compression::Gzip)
//!     .layer(change, Compression::Zstd)
//!     .config(Config { cmd: vec!["/bin/sh".into()], ..Config::default() });
//! # let dir = std::env::temp_dir().join(format!("plyfs-doc-{}", std::process::id()));
//! let manifest = image.write_oci(&dir, Some("box:1"))?;
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod encode;
mod entry;
mod image;
mod write;

pub use encode::EncodedLayer;
pub use entry::{Entry, Layer};
pub use image::{Config, ImageBuilder};

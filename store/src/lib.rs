//! The image store of plyfs: images in, verified layer directories out.
//!
//! An image is a stack of archives, each saying what changes against the ones below it, with
//! documents that name everything by its digest. [`Store::import`] reads one from an OCI image
//! layout or an archive, verifies it, and unpacks each layer once into a directory that an overlay
//! can mount. [`Store::image`] says which directories make an image; [`Store::create_container`]
//! makes the place for what is changed on top of them.
//!
//! # Concepts
//!
//! - A **blob** is a run of bytes named by its digest: a manifest, a configuration, a layer as it
//!   travels, usually compressed.
//! - A **layer** is named by its **DiffID**, the digest of its uncompressed archive. One layer may
//!   come as several blobs.
//! - A **ChainID** names a layer together with all below it.
//! - A **descriptor** says what a blob is, how long it is, and its digest; a **manifest** holds the
//!   descriptors of one image, an **index** those of several.
//!
//! # Floors
//!
//! From the ground up; a floor uses only those that stand above it in this table. The files of a folder use one
//! another without a circle, too, and its `mod.rs` names what other folders may use.
//!
//! | floor | what it knows |
//! |---|---|
//! | `values` | digests, names, times, limits, escapes, the records of layers and containers |
//! | `tar`, `oci`, `decode` | archives, documents and compressions, as bytes |
//! | `remote` | what a pull asks of a place that has images |
//! | `error`, `progress` | what can go wrong, and how far the work is |
//! | `disk` | the directory of a store: staging, locks, sealed records, index, blobs, layers and their digests |
//! | `source` | images outside the store |
//! | `unpack` | an archive becomes a directory |
//! | `image` | images in the store, their names and layers |
//! | `import` | an image comes into the store |
//! | `commit`, `save` | an image is made from changes; an image leaves the store |
//! | `collect` | what is needed, how much space it takes, and the removal of the rest |
//! | `container` | an upper directory of its own on an image |
//! | `live` | what is mounted or runs now |
//! | `check` | everything in the store is compared with its digests and repaired |
//! | `fixture` | images for tests and for `plyfs demo` |
//!
//! # Invariants
//!
//! - Nothing is visible in the store before it is verified, complete and on disk; nothing that is
//!   visible is changed afterwards, but for the index and what is known of a layer.
//! - The store is itself an OCI image layout.
//! - Input is hostile: nothing from it becomes a path without being checked, and memory does not
//!   grow with it.
//! - Nothing here prints, reads the environment, or ends the process.
//!
//! # Example
//!
//! An image becomes layer directories, the topmost last:
//!
//! ```
//! use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
//! use plyfs_store::{Compression, ImportRequest, Ownership, Silent, Source, Store};
//!
//! let dir = tempfile::tempdir()?;
//! let layout = dir.path().join("layout");
//! let layer = Layer::new([Entry::file("hostname", "box\n")]);
//! ImageBuilder::new()
//!     .layer(layer, Compression::Zstd)
//!     .write_oci(&layout, Some("box:1"))?;
//!
//! let store = Store::open(dir.path().join("store"))?;
//! let source = Source::parse(&format!("oci:{}:box:1", layout.display()))?;
//! store.import(&ImportRequest::new(source, Ownership::Override), &Silent)?;
//!
//! let image = store.image("box:1")?;
//! let hostname = image.layers[0].path.join("hostname");
//! assert_eq!(std::fs::read(hostname)?, b"box\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod collect;
mod commit;
mod container;
mod decode;
mod disk;
mod error;
#[cfg(feature = "fixture")]
pub mod fixture;
mod image;
mod import;
mod live;
mod oci;
mod progress;
mod remote;
mod save;
mod source;
mod tar;
mod unpack;
mod values;

pub use check::{
    CheckFault, CheckReport, CheckRequest, CheckedObject, Finding, Remedy, RepairedFrom,
};
pub use collect::{Collected, ContainerUsage, ImageUsage, Room, Unneeded, Usage};
pub use commit::{CommitRequest, ConfigChange, EntryContent, LayerEntry, LayerWriter};
pub use container::{Container, ContainerLock, TemporaryContainer};
pub use disk::{Difference, ImageHold, LayerPath, Scratch, Store};
pub use error::{
    BlobError, CommitError, ContainerError, EntryFault, Error, LayerError, LayerFault, RemoveError,
    Result, SaveError, SourceError,
};
pub use image::{Image, ImageRecord};
pub use import::{ImportRequest, Imported, PullRequest};
pub use live::{LiveEntry, LiveKind, LiveRecord, LiveRequest, Namespaces, ProcessId};
pub use oci::{Compression, DocumentError, Platform, PlatformError};
pub use progress::{Event, PlannedLayer, Progress, Silent};
pub use remote::{Remote, RemoteBlob, RemoteError, RemoteManifest};
pub use save::{Outgoing, OutgoingBlob, OutgoingReader, Saved};
pub use source::{Form, Outline, OutlinedLayer, Source};
pub use tar::{Fault, InputError, TarError};
pub use values::{
    ContainerName, ContainerRecord, Digest, DigestError, Escaped, ImageName, LayerFacts,
    LayerRecord, Limits, NameError, Ownership, RegistryReference, Timestamp, chain_ids, escaped,
};

/// The configuration of an image, as [`Image::config`] has it.
pub use oci_spec::image::ImageConfiguration;

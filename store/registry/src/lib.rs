//! A blocking client of container registries: the OCI distribution specification 1.1 and Docker's registry API v2.
//!
//! A [`Client`] knows the settings of the user. It says where a repository is pulled from, mirrors first, or pushed
//! to; a [`Repository`] then has manifests and blobs.
//!
//! # Invariants
//!
//! - Nothing is read or sent before a [`Client`] is made and asked, and nothing is global. Only [`Places::from_env`]
//!   and the system's certificates depend on the environment.
//! - Credentials go to the registry they are for and to the token server it names, by TLS unless the registry itself
//!   is reached without. No error, log line or `Debug` shows them.
//! - Answers are hostile input: documents are bounded in size, JSON in depth (serde_json refuses more than 128
//!   levels), headers in number and size, and a blob never yields more bytes than its size.
//! - What breaks is tried again with growing pauses ([`Retry`]), from the byte where it broke. In the end there is
//!   one error on one line.
//! - Every wait asks the [`Interrupt`] callback at least every 100 ms.
//!
//! # Example
//!
//! ```no_run
//! use plyfs_registry::{Client, MANIFEST_TYPES, Name, Options, Places};
//!
//! let client = Client::new(Options::new(Places::from_env()))?;
//! let name = Name::new("docker.io", "library/debian")?;
//! for repository in client.pull(&name, "bookworm")? {
//!     match repository.manifest("bookworm", &MANIFEST_TYPES) {
//!         Ok(manifest) => {
//!             assert!(manifest.digest.matches(&manifest.bytes));
//!             break;
//!         }
//!         Err(error) if repository.is_mirror() => drop(error),
//!         Err(error) => return Err(error),
//!     }
//! }
//! # Ok::<(), plyfs_registry::Error>(())
//! ```

mod auth;
mod client;
mod config;
mod content_range;
mod digest;
mod download;
mod error;
mod host;
mod manifest;
mod name;
mod net;
mod repository;
mod retry;
mod secret;
mod text;
mod upload;

pub use client::{Client, Options};
pub use config::{AuthFiles, Endpoint, Places, Policy, Proxies, Registries, Roots, ShortNameMode};
pub use digest::Digest;
pub use download::Download;
pub use error::{Cause, Error, RequestError};
pub use manifest::{LARGEST_MANIFEST, MANIFEST_TYPES, Manifest, ManifestHead};
pub use name::Name;
pub use net::Source;
pub use repository::Repository;
pub use retry::{Interrupt, Retry};
pub use secret::{Credentials, Secret};
pub use upload::{BlobUpload, Mount, UploadSession};

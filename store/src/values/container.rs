//! What is known of a container.

use serde::{Deserialize, Serialize};

use crate::values::{ContainerName, Digest, ImageName, Ownership};

/// What `container.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its name.
    pub name: ContainerName,
    /// The name its image had.
    pub image: ImageName,
    /// The digest of the manifest of that image.
    pub manifest_digest: Digest,
    /// The layers it stands on, bottom first.
    pub diff_ids: Vec<Digest>,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// How owners are kept in its upper directory.
    pub ownership: Ownership,
}

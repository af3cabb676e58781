//! What the store knows of an unpacked layer, and what can be wrong with one.

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// How owners, modes and devices of a layer are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// Files belong to the ids the archive names, as the user namespace of the importer maps them.
    /// The importer is root there, or in the initial namespace.
    Real,
    /// Files belong to the importer; what they should look like is in `override_stat` records (see
    /// [`plyfs_format::override_stat`]). For those who have one id only.
    Override,
}

/// What `layer.json` says of a layer: facts that are cheap to know when it is unpacked and let a
/// mounter skip work. All counts are of what was written while unpacking; where an archive replaced
/// some of it again, less may be there, so that zero means "none" and more means "look".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The layer: SHA-256 of its uncompressed archive.
    pub diff_id: Digest,
    /// The size of the uncompressed archive, in bytes.
    pub size: u64,
    /// How owners are kept.
    pub ownership: Ownership,
    /// Whether its opaque directories are marked in `trusted.*`, which the superuser writes and reads,
    /// or in `user.*`. Layers of older stores do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// What is in it.
    #[serde(flatten)]
    pub facts: LayerFacts,
    /// The digest of the unpacked tree: names, kinds, modes, owners, times, attributes and data. Layers of older
    /// stores have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Digest>,
    /// Blobs that were found to unpack to this layer: the archive itself or compressed forms of it.
    pub blobs: Vec<Digest>,
}

/// What was met while unpacking a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of data in regular files.
    pub data: u64,
    /// `override_stat` records. There can be some in a layer with real ownership: devices that a
    /// user namespace does not allow to make.
    pub overrides: u64,
    /// Whiteouts: character devices 0/0.
    pub whiteouts: u64,
    /// Directories marked opaque, the root included.
    pub opaque: u64,
    /// Whether the root of the layer is opaque: nothing of the layers below is to be seen.
    pub opaque_root: bool,
    /// Extended attributes set, records of the overlay not counted.
    pub xattrs: u64,
    /// Extended attributes that could not be kept: the file system or the kernel refused them, or
    /// they were records of an overlay, which an archive may not bring along.
    pub xattrs_dropped: u64,
    /// Whether the archive has an entry for the root. If not, owner, mode and times of `diff/` say
    /// nothing, and those of the root in a layer below are meant.
    pub root_entry: bool,
}

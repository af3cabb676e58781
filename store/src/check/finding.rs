//! What a check finds.

use std::fmt;

use crate::disk::Difference;
use crate::values::{ContainerName, Digest, escaped};

/// How many differences of a layer are named.
const SHOWN: usize = 3;

/// All that a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// What is damaged, sorted by what it is.
    pub findings: Vec<Finding>,
    /// How many images were checked.
    pub images: usize,
    /// How many containers.
    pub containers: usize,
    /// How many manifests, configurations and indexes.
    pub documents: usize,
    /// How many other blobs.
    pub blobs: usize,
    /// How many unpacked layers.
    pub layers: usize,
}

/// Something that is damaged.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is.
    pub object: CheckedObject,
    /// The images and containers that need it, as far as they are known.
    pub users: Vec<String>,
    /// What is wrong with it.
    pub fault: CheckFault,
    /// What became of it.
    pub remedy: Remedy,
}

impl Finding {
    /// Whether it is whole now.
    pub fn is_repaired(&self) -> bool {
        matches!(self.remedy, Remedy::Repaired(_))
    }
}

/// An object of a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CheckedObject {
    /// The file `oci-layout`.
    Marker,
    /// The file `index.json`.
    Index,
    /// The file `index.copy`.
    IndexCopy,
    /// The record of a container.
    Container(ContainerName),
    /// The record of the places that a container has only to be mounted on.
    Places(ContainerName),
    /// A manifest, a configuration or an index among the blobs.
    Document(Digest),
    /// A layer as it was imported, or a blob of another kind.
    Blob(Digest),
    /// What is known of an unpacked layer: its `layer.json`.
    LayerRecord(Digest),
    /// The tree of an unpacked layer.
    Layer(Digest),
}

impl CheckedObject {
    /// What kind of object it is, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Marker => "oci-layout",
            Self::Index => "index",
            Self::IndexCopy => "index-copy",
            Self::Container(_) => "container",
            Self::Places(_) => "container-places",
            Self::Document(_) => "document",
            Self::Blob(_) => "blob",
            Self::LayerRecord(_) => "layer-record",
            Self::Layer(_) => "layer",
        }
    }

    /// Its digest or name, if there are several of its kind.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Marker | Self::Index | Self::IndexCopy => None,
            Self::Container(name) | Self::Places(name) => Some(name.to_string()),
            Self::Document(digest)
            | Self::Blob(digest)
            | Self::LayerRecord(digest)
            | Self::Layer(digest) => Some(digest.to_string()),
        }
    }
}

impl fmt::Display for CheckedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marker => f.write_str("oci-layout"),
            Self::Index => f.write_str("index.json"),
            Self::IndexCopy => f.write_str("index.copy"),
            Self::Container(name) => write!(f, "record of container {name}"),
            Self::Places(name) => write!(f, "record of places to mount on in container {name}"),
            Self::Document(digest) => write!(f, "document {digest}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::LayerRecord(digest) => write!(f, "record of layer {digest}"),
            Self::Layer(digest) => write!(f, "layer {digest}"),
        }
    }
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckFault {
    /// It is needed and not there.
    Missing,
    /// It has another content than its name or its copy says.
    Content,
    /// It cannot be read, or is not what it should be.
    Unreadable(String),
    /// The tree of a layer is not what was unpacked, and no blob is left to say where it differs.
    Tree,
    /// The tree of a layer differs from what its blob unpacks to.
    Differs(Vec<Difference>),
    /// Nothing is left that an unpacked layer could be compared with.
    Unknown,
}

impl fmt::Display for CheckFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Content => f.write_str("is damaged: it has another content"),
            Self::Unreadable(why) => write!(f, "is damaged: {why}"),
            Self::Tree => f.write_str("is damaged: its files are not those that were unpacked"),
            Self::Unknown => f.write_str("cannot be checked: it has no digest and no whole blob"),
            Self::Differs(all) => {
                f.write_str("is damaged: ")?;
                for (at, one) in all.iter().take(SHOWN).enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{one}")?;
                }
                match all.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, ", and {more} more"),
                }
            }
        }
    }
}

/// What became of something damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Nothing, since no repair was asked for.
    NotAsked,
    /// It is whole now.
    Repaired(RepairedFrom),
    /// It could not be repaired; this is why.
    Impossible(String),
}

/// What something was repaired from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairedFrom {
    /// From what was left of it.
    Itself,
    /// The index, from its copy.
    Copy,
    /// The copy, from the index.
    Index,
    /// The index, from the manifests that were found; the names of the images are lost.
    Manifests,
    /// From a blob of the store.
    Blob(Digest),
    /// From the image that the caller named.
    Source,
    /// Nothing needs it, so it was removed.
    Removed,
    /// The record of places to mount on, which was removed: what it named stays in the container.
    WithoutPlaces,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("not repaired"),
            Self::Repaired(RepairedFrom::Itself) => f.write_str("repaired"),
            Self::Repaired(RepairedFrom::Copy) => f.write_str("repaired from its copy"),
            Self::Repaired(RepairedFrom::Index) => f.write_str("repaired from index.json"),
            Self::Repaired(RepairedFrom::Manifests) => f.write_str(
                "made again from the manifests; the names are lost and begin with recovered:",
            ),
            Self::Repaired(RepairedFrom::Blob(digest)) => write!(f, "repaired from blob {digest}"),
            Self::Repaired(RepairedFrom::Source) => f.write_str("repaired from the given image"),
            Self::Repaired(RepairedFrom::Removed) => f.write_str("removed, since nothing needs it"),
            Self::Repaired(RepairedFrom::WithoutPlaces) => f.write_str(
                "removed; empty directories and files that mounts were made on may stay in the container (plyfs diff)",
            ),
            Self::Impossible(why) => write!(f, "cannot be repaired: {}", escaped(why)),
        }
    }
}

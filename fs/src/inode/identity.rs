//! What makes a node this one and no other.

use crate::inode::node::Node;
use crate::layer::object_id::ObjectId;
use crate::types::Name;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NameIn {
    /// The node id of the directory.
    pub(super) dir: u64,
    pub(super) name: Name,
}

impl NameIn {
    pub(crate) fn new(dir: &Node, name: &Name) -> Self {
        Self {
            dir: dir.id,
            name: name.clone(),
        }
    }
}

/// What makes a node this one and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// The object its number comes from: itself, or its origin.
    Object(ObjectId),
    /// The object, and one of its names in a directory (by node id). So it is with a file that has
    /// several names in a lower layer: a copy-up under one of them leaves the others as they are, so
    /// that each is a file of its own that only looks like one with the others.
    Link(Box<(ObjectId, NameIn)>),
    /// The object, and the only path to it. So it is with what has the number of another file at another path,
    /// of which neither has a second name.
    Path(Box<(ObjectId, NameIn)>),
    /// An object whose number is another node's.
    Own(ObjectId),
}

impl Identity {
    pub(crate) fn object(&self) -> ObjectId {
        match self {
            Self::Object(object) | Self::Own(object) => *object,
            Self::Link(known) | Self::Path(known) => known.0,
        }
    }

    /// The id that follows from the identity.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            Self::Object(object) => object.derived(),
            Self::Link(_) | Self::Path(_) | Self::Own(_) => None,
        }
    }

    /// The id that a node gets if it is free. One of several names of a lower file gets the number of
    /// the file: a lookup has one number for both, and the kernel asks for nothing more.
    pub(super) fn wanted_id(&self) -> Option<u64> {
        match self {
            Self::Link(link) => link.0.derived(),
            _ => self.id(),
        }
    }
}

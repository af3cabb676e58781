//! The table of nodes in memory, and their locks. Knows layers, and no overlay.

pub(crate) mod backing;
pub(crate) mod dir;
pub(crate) mod identity;
pub(crate) mod listing;
pub(crate) mod locks;
pub(crate) mod node;
pub(crate) mod protection;
pub(crate) mod shard;
pub(crate) mod table;
pub(crate) mod told_mtime;
pub(crate) mod unlinked;

//! The table of nodes in memory, and the locks.

pub(crate) mod listing;
pub(crate) mod node;
pub(crate) mod table;
pub(crate) mod told_mtime;
pub(crate) mod unlinked;

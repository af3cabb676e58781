//! System calls on objects. Knows no layer.

pub(crate) mod attribute_names;
pub(crate) mod calls;
pub(crate) mod copy_data;
pub(crate) mod dirents;
pub(crate) mod fd_cache;
pub mod interrupt;
pub(crate) mod lent_modes;
pub(crate) mod owner_mode;
pub(crate) mod remove_tree;
pub(crate) mod write_back;

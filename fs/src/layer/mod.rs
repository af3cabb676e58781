//! What is on disk and what it means. Knows no node and no overlay.

pub(crate) mod archive_names;
pub(crate) mod in_use;
pub(crate) mod index;
pub(crate) mod kernel_mark;
pub(crate) mod lower;
pub(crate) mod lower_dir;
pub(crate) mod new_object;
pub(crate) mod object_id;
pub(crate) mod opaque;
pub(crate) mod origin;
pub(crate) mod overlap;
pub(crate) mod overlay_xattrs;
pub(crate) mod override_stat;
pub(crate) mod publish;
pub(crate) mod redirect;
pub(crate) mod rename_flags;
pub(crate) mod stand_in;
pub(crate) mod sync_copy;
pub(crate) mod trap;
pub(crate) mod upper;
pub(crate) mod whiteout;
pub(crate) mod work;
pub(crate) mod xattr_names;

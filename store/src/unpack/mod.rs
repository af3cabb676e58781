//! Unpacking: from the entries of an archive to a layer directory.
//!
//! The archive is hostile. It may name anything anywhere, replace what it made before, and lead
//! through links that it made a moment ago. The layer directory is private to this process while it
//! is unpacked, so no other process moves things in it.
//!
//! # Invariants
//!
//! - Every change is made by a name without a slash in a directory that is held open. Such a
//!   directory was reached from the root of the layer with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS,
//!   or component by component without following links; so no entry leads out of the layer. Where an
//!   entry lies behind links of its own layer, these are resolved first (see [`resolve`]).
//! - Files are made with O_EXCL and written through the descriptor that made them; owner, mode,
//!   times and attributes go to that descriptor. What has no descriptor (links, devices, fifos) is
//!   changed by its name in the held directory, without following it.
//! - Mode and times of a directory are applied last, the deepest first: until then it is open to
//!   its owner, and what is made in it inherits neither group nor access control list.
//! - The last of several entries of one name counts, as with tar. A directory over a directory
//!   keeps its content.
//!
//! # Whiteouts
//!
//! A whiteout speaks of the layers below, never of its own. On disk it is a character device 0/0,
//! and an opaque directory has the attribute that overlays use. Where a whiteout and an entry of
//! one name meet in a layer, in either order, the entry stays; if it is a directory it is opaque,
//! since nothing of the one below is left. For the same reason a directory that replaces something
//! else of its own layer is opaque. Below an opaque directory whiteouts hide nothing, and are left
//! out: an overlay lists such a directory as it is, whiteouts included.
//!
//! A directory that is there for whiteouts alone is no entry: with a whiteout of its own, before or
//! after, it is gone. Whiteouts below what is no directory in this layer hide nothing more than that
//! does. Directories with whiteouts are marked for overlays that may find nothing below them.
//!
//! # Policy
//!
//! - Devices, set-id files and file capabilities are part of images and are kept: for real where
//!   the kernel lets the importer make them, else in `override_stat` records. The store is closed
//!   to other users (mode 0700), and how a mount may use them is for the mounter to say.
//! - Attributes that overlays keep their own records in are dropped: an archive that brought them
//!   along could make files appear as something else (see [`xattr`]).
//! - Attributes that the kernel or the file system refuses are dropped and counted, as tar does.
//!   What the layer cannot do without, an opaque mark or an `override_stat` record, is an error.

mod data;
mod directory;
mod fault;
mod file;
mod link;
mod path;
mod pending;
mod place;
mod policy;
mod resolve;
mod special;
mod unpacker;
mod whiteout;
mod xattr;

pub(crate) use policy::{Policy, can_set_trusted};
pub(crate) use unpacker::unpack;

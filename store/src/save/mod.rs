//! Saving: an image out of the store, as a layout or an archive that other tools read.
//!
//! # Invariants
//!
//! - What is written has been compared with its digest on the way: a damaged store makes no damaged
//!   copies.
//! - A layout names an image after all of it is there, and an archive gets its name when it is
//!   complete, or ends when the call returns if it goes to a pipe. No
//!   file that exists is replaced, but for the index of a layout, and what has the name of a blob of
//!   the image and another content.
//! - No link inside a layout is followed.
//! - The same image makes the same bytes.

mod archive;
mod layout;
mod outgoing;
mod parts;
mod run;
mod target;

pub use outgoing::{Outgoing, OutgoingBlob, OutgoingReader};
pub use run::Saved;

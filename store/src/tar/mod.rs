//! Tar archives, read strictly and as a stream.
//!
//! Understood are ustar and pax archives (POSIX.1-2017, pax, "pax Interchange Format"), GNU long
//! names, base-256 numbers and sparse files in all their four forms, and the headers of Unix V7.
//!
//! # Why not the `tar` crate
//!
//! An image layer is hostile input, and what is read from it must be what every other tool reads.
//! This reader bounds the metadata of an entry before it allocates for it, checks every record of
//! an extended header, applies the size an extended header gives to every place where a size
//! counts (where that is done in part, entries can be smuggled: CVE-2025-62518), hands out data
//! straight from the buffers of a decompressor, and opens no file: where entries go is none of its
//! business.
//!
//! # Invariants
//!
//! - Where an entry begins, and which of several names and headers of it counts, is as in Go's
//!   `archive/tar`, by which nearly all tools of this field read: entries other than files have no
//!   data, whatever their size says; of several extended headers the last counts; a long name of GNU
//!   comes before one of pax; what follows the end is not read as entries.
//! - No allocation is larger than `limits::TAR_METADATA` and what follows from it.
//! - A name that comes out holds no NUL, and no number is negative but a time.
//! - The end of the archive is its two zero blocks, or the end of the stream between two entries,
//!   where what fills up the last block may be missing.

mod block;
mod entry;
mod fault;
mod header;
mod input;
mod number;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use entry::{Entry, Kind};
pub use fault::{Fault, TarError};
pub(crate) use input::Input;
pub use input::InputError;
#[cfg(test)]
pub(crate) use input::SliceInput;
pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

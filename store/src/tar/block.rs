//! The unit of an archive.

/// The unit of an archive, in bytes.
pub(super) const BLOCK: usize = 512;

/// How many bytes fill up the last block of data this long.
pub(super) fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}

//! A hash of numbers that the overlay chose itself, for tables on the way of every request.
//!
//! The hasher of the standard library withstands keys that an attacker picks to collide. Inode numbers
//! and serial numbers are not picked by users of a mount.

use std::hash::{BuildHasherDefault, Hasher};

/// For `HashMap` and the like.
pub(crate) type NumberHash = BuildHasherDefault<NumberHasher>;

/// Multiplies by a large odd number, as in Fibonacci hashing, for each number that is written.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        // Tables use the highest and the lowest bits; multiplying leaves the lowest poor.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(number));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn neighbours_spread_over_low_and_high_bits() {
        let hash = NumberHash::default();
        let hashes: Vec<u64> = (0..1024u64).map(|number| hash.hash_one(number)).collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3ff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(low.len() > 500, "{}", low.len());
        assert!(high.len() > 100, "{}", high.len());
    }
}

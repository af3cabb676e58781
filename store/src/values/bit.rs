//! Finding the one bit that was flipped.
//!
//! Memory and disks flip single bits. A short text whose digest is known can be healed without any other source:
//! one of the texts that differ from it in one bit has the digest, and SHA-256 proves that it is the right one.

/// How long a text may be, in bytes: for this many, two gigabytes are hashed, a second or two.
const LONGEST: usize = 16 << 10;

/// Flips one bit after another until the text is whole. `None` if it never is, or is too long to try.
pub(crate) fn restore_bit(bytes: &[u8], is_whole: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    if bytes.len() > LONGEST {
        return None;
    }
    let mut text = bytes.to_vec();
    for at in 0..text.len() {
        for bit in 0..8 {
            *text.get_mut(at)? ^= 1 << bit;
            if is_whole(&text) {
                return Some(text);
            }
            *text.get_mut(at)? ^= 1 << bit;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::*;

    #[test]
    fn one_flipped_bit_is_found_and_two_are_not() {
        let text = b"some text".to_vec();
        let digest = Digest::of(&text);
        let is_whole = |bytes: &[u8]| Digest::of(bytes) == digest;
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(restore_bit(&flipped, is_whole), Some(text.clone()));
            flipped[0] ^= 3;
            flipped[8] ^= 3;
            assert_eq!(restore_bit(&flipped, is_whole), None);
        }
        assert_eq!(restore_bit(&vec![0; LONGEST + 1], |_| true), None);
    }
}

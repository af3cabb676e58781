//! Sealed records: JSON objects whose last member is the digest of the object without it.
//!
//! ```text
//! {"diff_id":"sha256:...", ...,"seal":"sha256:..."}
//! ```
//!
//! A flipped bit in a record often leaves valid JSON, and a mount would then trust a wrong fact. The seal tells.
//! Records that an older version wrote have no seal and are taken as they are.

use std::path::Path;

use super::document::read_document;
use crate::error::{Error, Result};
use crate::values::{Digest, limits, restore_bit, to_json};

/// What stands before and after the digest.
const OPEN: &str = ",\"seal\":\"";
const CLOSE: &str = "\"}";

/// The length of a digest as text: `sha256:` and 64 digits.
const DIGEST: usize = 71;

/// How the bytes of a record are sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seal {
    /// The seal fits; this is the object without it.
    Whole(Vec<u8>),
    /// The object is not what was sealed, or the seal itself is damaged.
    Broken,
    /// There is no seal.
    None,
}

/// An object as JSON with a seal. The object must have a member.
pub(crate) fn seal(record: &impl serde::Serialize) -> Vec<u8> {
    seal_bytes(to_json(record))
}

/// Seals an object that is JSON already.
pub(crate) fn seal_bytes(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&bytes);
    if bytes.pop() == Some(b'}') {
        bytes.extend(format!("{OPEN}{digest}{CLOSE}").into_bytes());
    }
    bytes
}

/// Takes a seal off, if there is one.
pub(crate) fn unseal(bytes: &[u8]) -> Seal {
    let tail = OPEN.len() + DIGEST + CLOSE.len();
    let split = bytes.len().checked_sub(tail);
    let Some((head, tail)) = split.and_then(|at| bytes.split_at_checked(at)) else {
        return Seal::None;
    };
    let inner = tail.strip_prefix(OPEN.as_bytes());
    let Some(inner) = inner.and_then(|inner| inner.strip_suffix(CLOSE.as_bytes())) else {
        return Seal::None;
    };
    let object = [head, b"}"].concat();
    let digest = str::from_utf8(inner)
        .ok()
        .and_then(|text| text.parse::<Digest>().ok());
    if digest == Some(Digest::of(&object)) {
        Seal::Whole(object)
    } else {
        Seal::Broken
    }
}

/// Reads a record that may be sealed.
pub(crate) fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_document(path, limits::DOCUMENT_BYTES)?;
    let damaged = |why: String| Error::DamagedRecord {
        path: path.to_owned(),
        why,
    };
    let object = match unseal(&bytes) {
        Seal::Whole(object) => object,
        Seal::None => bytes,
        Seal::Broken => return Err(damaged("its seal does not fit".to_owned())),
    };
    serde_json::from_slice(&object).map_err(|error| damaged(error.to_string()))
}

/// Reads a sealed record in which one bit was flipped. Returns its bytes, and what they say.
pub(crate) fn restored<T: serde::de::DeserializeOwned>(path: &Path) -> Option<(Vec<u8>, T)> {
    let bytes = read_document(path, limits::DOCUMENT_BYTES).ok()?;
    let whole = restore_bit(&bytes, |bytes| matches!(unseal(bytes), Seal::Whole(_)))?;
    match unseal(&whole) {
        Seal::Whole(object) => Some((whole, serde_json::from_slice(&object).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_passes_for_a_whole_record() {
        let object = br#"{"a":1,"b":"two"}"#.to_vec();
        let sealed = seal_bytes(object.clone());
        assert_eq!(unseal(&sealed), Seal::Whole(object));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(unseal(&flipped), Seal::Whole(_)), "bit {bit}");
        }
    }

    #[test]
    fn records_without_a_seal_are_taken_as_they_are() {
        assert_eq!(unseal(br#"{"a":1}"#), Seal::None);
        assert_eq!(unseal(b""), Seal::None);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(200));
        assert_eq!(unseal(long.as_bytes()), Seal::None);
    }
}

//! Digests: the names of content.
//!
//! A digest becomes a file name in the store, so it is checked before it can: `sha256:` and 64
//! lower-case hexadecimal digits, nothing else (OCI image specification, "descriptor.md",
//! "Digests"). A [`Digest`] holds the 32 bytes, and what is made of it again cannot hold a slash.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::escape::escaped;

/// What stands before the colon.
const ALGORITHM: &str = "sha256";

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// A text that is no usable digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DigestError {
    /// Not `sha256:` and 64 lower-case hexadecimal digits.
    #[error("\"{}\" is not a digest", escaped(.0))]
    Malformed(String),
    /// An algorithm other than SHA-256.
    #[error("the digest \"{}\" is not a SHA-256 digest, the only kind supported", escaped(.0))]
    Algorithm(String),
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 64 hexadecimal digits: the name of the blob below `blobs/sha256/`.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
        hex
    }

    /// One of its 32 bytes; those of a random text are random numbers.
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// Reads the 64 digits alone.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                *byte = *byte << 4 | nibble(digit)?;
            }
        }
        Some(Self(bytes))
    }
}

/// The value of a lower-case hexadecimal digit.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.to_owned());
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        if algorithm == ALGORITHM {
            return Self::from_hex(encoded).ok_or_else(malformed);
        }
        let known = matches!(algorithm, "sha384" | "sha512" | "blake3");
        Err(if known {
            DigestError::Algorithm(text.to_owned())
        } else {
            malformed()
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-256 of a stream.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// A sink with the digest and the length of what was written to it.
pub(crate) struct Hashed<W> {
    inner: W,
    hasher: Hasher,
    /// In bytes.
    len: u64,
}

impl<W> Hashed<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Hasher::new(),
            len: 0,
        }
    }

    /// The sink, with digest and length.
    pub(crate) fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.len)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.len += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// ChainIDs of a stack of layers, bottom first: the n-th names the file system that the first n
/// layers make together (OCI image specification, "config.md", "Layer ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_read_and_written() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(format!("sha256:{}", Digest::of(b"").hex()), EMPTY);
    }

    #[test]
    fn what_could_be_another_path_is_no_digest() {
        let hex = &EMPTY["sha256:".len()..];
        for text in [
            String::new(),
            hex.to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("sha256:{hex}0"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{}/..", &hex[3..]),
            format!("sha256:{}\0", &hex[1..]),
            format!("sha256:{}\u{fc}", &hex[2..]),
            format!("sha256: {}", &hex[1..]),
            format!("sha256:+{}", &hex[1..]),
            format!("../../x:{hex}"),
            "sha256:../../x".to_owned(),
        ] {
            assert_eq!(
                text.parse::<Digest>(),
                Err(DigestError::Malformed(text.clone())),
                "{text:?}"
            );
        }
        let long = format!("sha512:{hex}{hex}");
        assert_eq!(
            long.parse::<Digest>(),
            Err(DigestError::Algorithm(long.clone()))
        );
    }

    /// The vectors are computed with sha256sum(1) from the formula in the specification.
    #[test]
    fn chain_ids_follow_the_specification() {
        let a: Digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
            .parse()
            .unwrap();
        let b: Digest = "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
            .parse()
            .unwrap();
        let c: Digest = EMPTY.parse().unwrap();
        let chain = chain_ids(&[a, b, c]);
        assert_eq!(chain[0], a);
        assert_eq!(
            chain[1].to_string(),
            "sha256:462b80aef093b60913b788d01bd83e40bea09cc1131c723ef41e7720c211e8bf"
        );
        assert_eq!(
            chain[2].to_string(),
            "sha256:018f7f9c5bd9eabf1295ef27e9ef74829291455c92b4a46e9eb3fda20d4a61b9"
        );
        assert_eq!(chain_ids(&[a, b])[..], chain[..2]);
        assert!(chain_ids(&[]).is_empty());
    }
}

//! Names of content.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use crate::Error;

/// The name of a blob: an algorithm and a hash in lower-case hexadecimal, as `sha256:...`.
///
/// Only SHA-256 and SHA-512 are accepted, the two algorithms that the OCI image specification registers for use.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Digest(String);

impl Digest {
    /// The SHA-256 digest of bytes.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(&Sha256::digest(bytes))))
    }

    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether bytes have this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match self.0.split_once(':') {
            Some(("sha512", hash)) => hash == hex(&Sha512::digest(bytes)),
            _ => *self == Self::sha256(bytes),
        }
    }
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let length = match text.split_once(':') {
            Some(("sha256", _)) => 64,
            Some(("sha512", _)) => 128,
            _ => 0,
        };
        let hash = text.split_once(':').map_or("", |(_, hash)| hash);
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if length == 0 || hash.len() != length || !hash.bytes().all(is_hex) {
            return Err(Error::InvalidName {
                name: text.to_owned(),
                why: "it is no sha256 or sha512 digest",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_digests_are_read() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::sha256(b"").as_str(), empty);
        let digest: Digest = empty.parse().unwrap();
        assert!(digest.matches(b"") && !digest.matches(b"x"));
        for bad in ["", "sha256:", "md5:00", &empty.to_uppercase(), &empty[..70]] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let long = format!("sha512:{}", hex(&Sha512::digest(b"x")));
        assert!(long.parse::<Digest>().unwrap().matches(b"x"));
    }
}

//! Platforms: which machine an image is for.
//!
//! Names are those of Go (`GOOS`, `GOARCH`), as image documents use them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::values::escaped;

/// The architecture of an image that says none.
pub(crate) const UNKNOWN_ARCHITECTURE: &str = "unknown";

/// An operating system, an architecture and, where there are several, a variant of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux` for every image that can be mounted here.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, `riscv64`, ...
    #[serde(default)]
    pub architecture: String,
    /// `v7` of `arm`, `v8` of `arm64`, `v3` of `amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What else a document says of the platform.
    #[serde(flatten)]
    other: std::collections::BTreeMap<String, serde_json::Value>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{}\" is not a platform such as linux/amd64 or linux/arm/v7", escaped(.0))]
pub struct PlatformError(pub String);

impl Platform {
    /// A platform of these parts.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            other: Default::default(),
        }
    }

    /// The platform of the machine this runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            same => same,
        };
        let variant = (architecture == "arm").then_some("v7");
        Self::new("linux", architecture, variant)
    }

    /// How well an image for `self` suits a wish for `wanted`: nothing if not at all, and the more
    /// the better. Without a variant in the wish the plainest image of the architecture is best;
    /// 32-bit ARM runs what is for its older variants as well.
    pub(crate) fn suits(&self, wanted: &Self) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        let (own, wanted_level) = (self.level(), wanted.level());
        let exact = own == wanted_level;
        match self.architecture.as_str() {
            _ if exact => Some(u32::MAX),
            "arm" | "amd64" if own <= wanted_level => Some(own),
            _ => None,
        }
    }

    /// The variant as a number; what an architecture without one means has been settled by use.
    fn level(&self) -> u32 {
        let implied = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            "amd64" => 1,
            _ => 0,
        };
        match &self.variant {
            None => implied,
            Some(variant) if variant.is_empty() => implied,
            Some(variant) => variant
                .strip_prefix('v')
                .and_then(|number| number.parse().ok())
                .unwrap_or(u32::MAX - 1),
        }
    }

    /// Whether the image says what it is for.
    pub(crate) fn is_known(&self) -> bool {
        self.architecture != UNKNOWN_ARCHITECTURE
    }

    /// Whether all parts are plain words, which can be shown and compared.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = |part: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            part.len() <= 64 && part.bytes().all(allowed)
        };
        plain(&self.os)
            && plain(&self.architecture)
            && self.variant.as_deref().is_none_or(plain)
            && !self.os.is_empty()
            && !self.architecture.is_empty()
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError(text.to_owned());
        let mut parts = text.split('/');
        let os = parts.next().ok_or_else(wrong)?;
        let architecture = parts.next().ok_or_else(wrong)?;
        let variant = parts.next();
        let platform = Self::new(os, architecture, variant);
        if parts.next().is_some() || variant == Some("") || !platform.is_plain() {
            return Err(wrong());
        }
        Ok(platform)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", escaped(&self.os), escaped(&self.architecture))?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{}", escaped(variant)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn platforms_are_read_and_written() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for text in [
            "",
            "amd64",
            "linux/",
            "/amd64",
            "linux/arm/",
            "linux/arm/v7/x",
            "linux/a md64",
            "linux/\x1b[m",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
        assert_eq!(Platform::host().os, "linux");
        assert!(Platform::host().is_plain());
    }

    #[test]
    fn variants_are_compared_as_they_are_used() {
        let best = |wanted: &str, offered: &[&str]| {
            let wanted = platform(wanted);
            offered
                .iter()
                .filter_map(|text| Some((platform(text).suits(&wanted)?, *text)))
                .max()
                .map(|(_, text)| text.to_owned())
        };
        for (wanted, offered, found) in [
            (
                "linux/amd64",
                &["linux/arm64", "linux/amd64"][..],
                Some("linux/amd64"),
            ),
            (
                "linux/amd64",
                &["linux/amd64/v3", "linux/amd64"],
                Some("linux/amd64"),
            ),
            ("linux/amd64", &["linux/amd64/v3"], None),
            (
                "linux/amd64/v3",
                &["linux/amd64", "linux/amd64/v2"],
                Some("linux/amd64/v2"),
            ),
            (
                "linux/amd64/v3",
                &["linux/amd64/v2", "linux/amd64/v3"],
                Some("linux/amd64/v3"),
            ),
            ("linux/arm64", &["linux/arm64/v8"], Some("linux/arm64/v8")),
            ("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64")),
            (
                "linux/arm",
                &["linux/arm/v6", "linux/arm/v7"],
                Some("linux/arm/v7"),
            ),
            (
                "linux/arm/v7",
                &["linux/arm/v5", "linux/arm/v6"],
                Some("linux/arm/v6"),
            ),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/amd64", &["windows/amd64", "linux/386"], None),
        ] {
            assert_eq!(
                best(wanted, offered).as_deref(),
                found,
                "{wanted} of {offered:?}"
            );
        }
    }
}

//! Names of images and of containers.
//!
//! The store is an OCI image layout, and the name of an image is the `ref.name` annotation of its
//! manifest. A name is brought into one form where it enters: a reference as registries define it
//! (see [`super::reference`]) with its tag, `latest` if none is given. Names that are in a store
//! already, from older versions and from other tools, are taken as they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::Digest;
use super::escape::escaped;
use super::reference::{Fault, LATEST, Reference};

/// The longest name of an image that a store may hold, in bytes.
const IMAGE_NAME_BYTES: usize = 512;

/// The longest name of a container, in bytes.
const CONTAINER_NAME_BYTES: usize = 64;

/// The digest algorithm of the store. `sha256:HEX` is a digest, so no repository may have this name.
const DIGEST_ALGORITHM: &str = "sha256";

/// What other tools put in front of a short name.
const LOCALHOST: &str = "localhost/";

/// A name that is refused or not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a name for an image.
    #[error("\"{}\" cannot be the name of an image: {}", escaped(.0), fault(.0))]
    Image(String),
    /// A digest where an image is to get a name.
    #[error(
        "\"{}\" cannot be the name of an image: a digest follows from what is in it; leave out the @ and all behind it",
        escaped(.0)
    )]
    Digest(String),
    /// The name of a digest algorithm as a repository.
    #[error(
        "\"{}\" cannot be the name of an image: it looks like a digest; choose another repository than sha256",
        escaped(.0)
    )]
    DigestAlgorithm(String),
    /// The image of that name is another than the digest says.
    #[error("the image \"{}\" is {found}, not {wanted}", escaped(name))]
    OtherDigest {
        /// The name of the image in the store.
        name: String,
        /// The digest that was asked for.
        wanted: Digest,
        /// The digest of its manifest.
        found: Digest,
    },
    /// Not a name for a container.
    #[error(
        "\"{}\" cannot be the name of a container: letters, digits and _.- after a letter or digit, at most 64",
        escaped(.0)
    )]
    Container(String),
    /// No image of that name.
    #[error("there is no image \"{}\"{}", escaped(name), hint(similar))]
    UnknownImage {
        /// What was asked for.
        name: String,
        /// What there is instead: names like it, else all of them.
        similar: Vec<String>,
    },
    /// The digests of several images begin so.
    #[error("several images have a digest that begins with {}; give more of it", escaped(.0))]
    AmbiguousId(String),
}

/// Why a text is no name of an image.
fn fault(text: &str) -> Fault {
    // All that are refused for another reason hold what no part of a reference may.
    Reference::parse(text).err().unwrap_or(Fault::Path)
}

/// The end of the message about an unknown name.
fn hint(similar: &[String]) -> String {
    const SHOWN: usize = 8;
    if similar.is_empty() {
        return "; the store is empty".to_owned();
    }
    let more = if similar.len() > SHOWN { ", ..." } else { "" };
    let names: Vec<_> = similar.iter().take(SHOWN).map(String::as_str).collect();
    format!("; there is {}{more}", escaped(&names.join(", ")))
}

/// The name of an image in the store, as `debian:12` or `quay.io/fedora/fedora:41`.
///
/// Parsing one gives it its tag; reading one from a record of the store leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that a store has already, as it is; `None` if nothing could say it.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        let fits = Reference::parse(text).is_ok() || is_layout_ref(text);
        (fits && text.len() <= IMAGE_NAME_BYTES).then(|| Self(text.to_owned()))
    }

    /// The name that a reference gives an image; a digest in it says nothing more.
    pub(crate) fn of(reference: &Reference) -> Self {
        Self(reference.tagged())
    }

    /// Whether a text that a user writes means this name, without a tag or in another of its forms.
    pub fn is_meant_by(&self, text: &str) -> bool {
        text == self.0
            || Reference::parse(text).is_ok_and(|reference| {
                reference.digest.is_none()
                    && spellings(&reference).any(|spelling| spelling == self.0)
            })
    }

    /// Whether a name in an index is this one, in whatever form it was written.
    pub(crate) fn is(&self, text: &str) -> bool {
        text == self.0 || Reference::parse(text).is_ok_and(|other| other.tagged() == self.0)
    }
}

/// The repositories that a reference may mean, in order.
pub(crate) fn repositories(reference: &Reference) -> Vec<String> {
    let mut repositories = vec![reference.repository.clone()];
    if !reference.has_domain() {
        repositories.push(format!("{LOCALHOST}{}", reference.repository));
    }
    for other in [
        reference.full_repository(),
        reference.short_repository().to_owned(),
    ] {
        if !repositories.contains(&other) {
            repositories.push(other);
        }
    }
    repositories
}

/// The names in an index to try for a reference, in order.
pub(crate) fn spellings(reference: &Reference) -> impl Iterator<Item = String> {
    let tag = reference.tag.clone().unwrap_or_else(|| LATEST.to_owned());
    repositories(reference)
        .into_iter()
        .flat_map(move |repository| {
            let tagged = format!("{repository}:{tag}");
            // Older versions and other tools name images without a tag.
            let bare = (tag == LATEST).then_some(repository);
            std::iter::once(tagged).chain(bare)
        })
}

/// Of all names those that resemble one: parts of one another, or the same last component.
pub(crate) fn similar<'a>(name: &str, all: &[&'a str]) -> Vec<&'a str> {
    let last = |name: &str| {
        let component = name.rsplit('/').next().unwrap_or(name);
        component
            .split([':', '@'])
            .next()
            .unwrap_or(component)
            .to_ascii_lowercase()
    };
    let wanted = last(name);
    let alike = |name: &&&str| {
        let other = last(name);
        other.contains(&wanted) || wanted.contains(&other)
    };
    all.iter().filter(alike).copied().collect()
}

/// Whether a text is a name by the grammar for layouts, which other tools hold to (OCI image
/// specification, "annotations.md"): words of letters and digits, between them `/`, one of
/// `-._:@+` or `--`.
pub(crate) fn is_layout_ref(text: &str) -> bool {
    let is_component = |component: &str| {
        let words = component.replace("--", "-");
        // A dash that came of two must have come of exactly two: "a---b" leaves "a--b".
        words
            .split(|character| "-._:@+".contains(character))
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    text.split('/').all(is_component)
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match Reference::parse(text) {
            Ok(reference) if reference.digest.is_some() => Err(NameError::Digest(text.to_owned())),
            Ok(reference) if reference.repository == DIGEST_ALGORITHM => {
                Err(NameError::DigestAlgorithm(text.to_owned()))
            }
            Ok(reference) => Ok(Self::of(&reference)),
            Err(_) => Err(NameError::Image(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::stored(&text).ok_or(NameError::Image(text))
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a container: a letter or digit, then letters, digits and `_.-`, at most 64 bytes. It
/// is the name of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name of this crate's making, which follows the rules.
    pub(crate) fn generated(name: String) -> Self {
        Self(name)
    }
}

impl FromStr for ContainerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= CONTAINER_NAME_BYTES && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Container(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ContainerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_brought_into_one_form() {
        for (text, name) in [
            ("debian", "debian:latest"),
            ("debian:12", "debian:12"),
            ("quay.io/fedora/fedora:41", "quay.io/fedora/fedora:41"),
            ("localhost:5000/a--b", "localhost:5000/a--b:latest"),
            ("my__app:_x-", "my__app:_x-"),
            ("docker.io/app", "docker.io/library/app:latest"),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().as_str(), name);
        }
        for text in ["", "a:", ":a", "A.b_c", "a b", "..", "a\n", "a+b", "a@b"] {
            let error = text.parse::<ImageName>().unwrap_err();
            assert_eq!(error, NameError::Image(text.to_owned()));
        }
        let digest = format!("a@{}", Digest::of(b""));
        assert_eq!(
            digest.parse::<ImageName>(),
            Err(NameError::Digest(digest.clone()))
        );
    }

    #[test]
    fn a_name_that_a_store_has_stays_as_it_is() {
        for text in ["app", "Debian:12", "localhost:5000/a--b/c@d+e", "my__app:1"] {
            assert_eq!(ImageName::stored(text).unwrap().as_str(), text);
            let json = format!("\"{text}\"");
            let read: ImageName = serde_json::from_str(&json).unwrap();
            assert_eq!(read.as_str(), text);
        }
        for text in ["", "/", "a/", "a b", "..", "../x", "a\n", "\u{fc}", "a:-b"] {
            assert_eq!(ImageName::stored(text), None, "{text:?}");
        }
        let name: ImageName = "app".parse().unwrap();
        assert!(name.is("app") && name.is("app:latest") && !name.is("app:1"));
    }

    #[test]
    fn a_short_name_is_tried_in_its_long_forms() {
        let spelt =
            |text: &str| -> Vec<String> { spellings(&Reference::parse(text).unwrap()).collect() };
        assert_eq!(
            spelt("debian"),
            [
                "debian:latest",
                "debian",
                "localhost/debian:latest",
                "localhost/debian",
                "docker.io/library/debian:latest",
                "docker.io/library/debian",
            ]
        );
        assert_eq!(spelt("quay.io/a:1"), ["quay.io/a:1"]);
        assert_eq!(
            spelt("user/a:1"),
            ["user/a:1", "localhost/user/a:1", "docker.io/user/a:1"]
        );
        assert_eq!(
            spelt("docker.io/library/a:1"),
            ["docker.io/library/a:1", "a:1"]
        );
    }

    #[test]
    fn a_name_is_meant_by_its_shorter_forms() {
        let name = ImageName::stored("docker.io/library/app:latest").unwrap();
        for text in ["app", "app:latest", "docker.io/app"] {
            assert!(name.is_meant_by(text), "{text}");
        }
        for text in ["app:1", "quay.io/app", "other", "app@x"] {
            assert!(!name.is_meant_by(text), "{text}");
        }
    }

    #[test]
    fn similar_names_share_a_word() {
        let all = [
            "docker.io/library/debian:12",
            "quay.io/fedora/fedora:41",
            "deb:1",
        ];
        let similar = |name: &str| similar(name, &all);
        assert_eq!(similar("debian:11"), [all[0], all[2]]);
        assert_eq!(similar("Fedora"), [all[1]]);
        assert!(similar("alpine").is_empty());
    }

    #[test]
    fn container_names_are_file_names() {
        for text in ["a", "web-1", "A_b.c", &"x".repeat(64)] {
            assert!(text.parse::<ContainerName>().is_ok(), "{text}");
        }
        for text in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a b",
            "\u{fc}",
            &"x".repeat(65),
        ] {
            assert!(text.parse::<ContainerName>().is_err(), "{text:?}");
        }
    }
}

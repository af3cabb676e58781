//! Names of images and of containers.
//!
//! The store is an OCI image layout, and the name of an image is the `ref.name` annotation of its
//! manifest. Only what other tools can say in `oci:STORE:NAME` is taken as a name. The grammar is
//! that of the OCI image specification, "annotations.md":
//!
//! ```text
//! ref       ::= component ("/" component)*
//! component ::= alphanum (separator alphanum)*
//! alphanum  ::= [A-Za-z0-9]+
//! separator ::= [-._:@+] | "--"
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::escape::escaped;

/// The longest name of an image, in bytes.
const IMAGE_NAME_BYTES: usize = 255;

/// The longest name of a container, in bytes.
const CONTAINER_NAME_BYTES: usize = 64;

/// What a name without a tag means.
const LATEST: &str = ":latest";

/// What other tools put in front of a short name.
const PREFIXES: [&str; 2] = ["localhost/", "docker.io/library/"];

/// A name that is refused or not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a name for an image.
    #[error(
        "\"{}\" cannot be the name of an image: words of letters and digits are joined by one of -._:@+/",
        escaped(.0)
    )]
    Image(String),
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name made of whatever text there is: what cannot be in a name becomes a dash.
    pub(crate) fn from_words(text: &str) -> Option<Self> {
        words(text).parse().ok()
    }

    /// A name with a tag, made of whatever texts there are.
    pub(crate) fn from_parts(name: &str, tag: &str) -> Option<Self> {
        format!("{}:{}", words(name), words(tag)).parse().ok()
    }

    /// The names to try when a user says `self`, in order.
    pub(crate) fn spellings(&self) -> impl Iterator<Item = String> {
        let prefixes = std::iter::once("").chain(PREFIXES);
        prefixes.flat_map(|prefix| {
            let name = format!("{prefix}{}", self.0);
            [format!("{name}{LATEST}"), name].into_iter().rev()
        })
    }

    /// Of all names those that resemble `self`: parts of one another, or the same last component.
    pub(crate) fn similar<'a>(&self, all: &[&'a str]) -> Vec<&'a str> {
        let last = |name: &str| {
            let component = name.rsplit('/').next().unwrap_or(name);
            component
                .split([':', '@'])
                .next()
                .unwrap_or(component)
                .to_ascii_lowercase()
        };
        let wanted = last(&self.0);
        let alike = |name: &&&str| {
            let other = last(name);
            other.contains(&wanted) || wanted.contains(&other)
        };
        all.iter().filter(alike).copied().collect()
    }
}

/// Letters and digits, with single separators between them.
fn words(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' => name.push(character),
            _ if name.is_empty() || name.ends_with(is_separator) => {}
            '.' | '_' | ':' | '@' | '+' => name.push(character),
            _ => name.push('-'),
        }
    }
    name.truncate(name.trim_end_matches(is_separator).len());
    name
}

fn is_separator(character: char) -> bool {
    "-._:@+".contains(character)
}

/// Whether a component of a reference follows the grammar.
fn is_component(component: &str) -> bool {
    let words = component.replace("--", "-");
    // A dash that came of two must have come of exactly two: "a---b" leaves "a--b".
    words
        .split(is_separator)
        .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= IMAGE_NAME_BYTES && text.split('/').all(is_component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Image(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
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
    fn image_names_follow_the_grammar() {
        for text in [
            "debian",
            "debian:12",
            "quay.io/fedora/fedora:41",
            "localhost:5000/a--b/c@d+e",
            "A.b_c",
        ] {
            assert!(text.parse::<ImageName>().is_ok(), "{text}");
        }
        for text in [
            "", "/", "a/", "/a", "a//b", "-a", "a-", "a---b", "a__b", "a..b", "a:", ":a", "a b",
            "..", "../x", "a\n", "\u{fc}", "a:-b", "a-:b", "a--:b",
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(256).parse::<ImageName>().is_err());
    }

    #[test]
    fn a_short_name_is_tried_in_its_long_forms() {
        let name: ImageName = "debian".parse().unwrap();
        let spellings: Vec<_> = name.spellings().collect();
        assert_eq!(
            spellings,
            [
                "debian",
                "debian:latest",
                "localhost/debian",
                "localhost/debian:latest",
                "docker.io/library/debian",
                "docker.io/library/debian:latest",
            ]
        );
    }

    #[test]
    fn names_are_made_of_anything() {
        for (text, name) in [
            ("my image (2).oci:latest", Some("my-image-2-oci:latest")),
            ("debian:12", Some("debian:12")),
            ("a__b:1", Some("a_b:1")),
            ("--x--", Some("x")),
            ("a/b", Some("a-b")),
            ("\u{fc}\u{fc}", None),
        ] {
            let made = ImageName::from_words(text).map(String::from);
            assert_eq!(made.as_deref(), name);
        }
        let made = ImageName::from_parts("no tag!", "-1.0-");
        assert_eq!(made.map(String::from).as_deref(), Some("no-tag:1.0"));
        assert_eq!(ImageName::from_parts("?", "latest"), None);
    }

    #[test]
    fn similar_names_share_a_word() {
        let all = [
            "docker.io/library/debian:12",
            "quay.io/fedora/fedora:41",
            "deb:1",
        ];
        let similar = |name: &str| name.parse::<ImageName>().unwrap().similar(&all);
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

//! What is wrong with the source of an image.

use std::path::PathBuf;

use thiserror::Error;

use crate::oci::Platform;
use crate::values::{Digest, ImageName, NameError, escaped, escaped_path};

/// A source that cannot be understood or does not hold one certain image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No form, or one that is not supported.
    #[error(
        "\"{}\" does not say where an image is: write oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]",
        escaped(.0)
    )]
    Form(String),
    /// A form without a path.
    #[error("\"{}\" names no file", escaped(.0))]
    NoPath(String),
    /// A directory or archive of another kind.
    #[error("{} is not {what}: {why}", escaped_path(path))]
    Kind {
        /// The directory or file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// No image of that name.
    #[error(
        "there is no image \"{}\" in {}; {}",
        escaped(tag),
        escaped_path(path),
        known(tags)
    )]
    NoTag {
        /// The directory or file.
        path: PathBuf,
        /// What was asked for.
        tag: String,
        /// What is there.
        tags: Vec<String>,
    },
    /// Several images, and no word on which.
    #[error(
        "{} holds several images, and one must be named; {}; @0, @1, ... name them by their place",
        escaped_path(path),
        known(tags)
    )]
    Several {
        /// The directory or file.
        path: PathBuf,
        /// What is there.
        tags: Vec<String>,
    },
    /// A name with an `@` behind which is neither a number nor a digest.
    #[error(
        "\"{}\" chooses no image: behind the @ must stand the place of an image, as @0, or sha256: and 64 lower-case hexadecimal digits",
        escaped(.0)
    )]
    Choice(String),
    /// A number without an image.
    #[error(
        "there is no image @{number} in {}, which holds {count}; the first is @0",
        escaped_path(path)
    )]
    NoNumber {
        /// The directory or file.
        path: PathBuf,
        /// What was asked for.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// The image of that name is another than the digest says.
    #[error("the image \"{}\" is {found}, not {wanted}", escaped(name))]
    OtherDigest {
        /// The name.
        name: String,
        /// The digest in the name.
        wanted: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// No image at all.
    #[error("{} holds no image", escaped_path(.0))]
    Empty(PathBuf),
    /// The image is not for this platform.
    #[error(
        "there is no image for {wanted}; there is one for {}",
        platforms(found)
    )]
    NoPlatform {
        /// What was asked for, or the platform of this machine.
        wanted: Platform,
        /// What is there.
        found: Vec<Platform>,
    },
    /// Names are nested in names without end.
    #[error("{} is an index of indexes of indexes, too deep to follow", escaped_path(.0))]
    TooDeep(PathBuf),
    /// No usable name follows from the source.
    #[error("no name for the image follows from {}; give it one", escaped_path(.0))]
    NoName(PathBuf),
    /// The image has a name that cannot be one here.
    #[error("{fault}; give the image in {} another name", escaped_path(path))]
    BadName {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        fault: NameError,
    },
    /// One of several images has no name.
    #[error(
        "the image @{number} in {} has no name; import it by itself, and give it one",
        escaped_path(path)
    )]
    Nameless {
        /// The file.
        path: PathBuf,
        /// Its place.
        number: usize,
    },
    /// Several images have one name.
    #[error(
        "several images in {} are called {name}; import them one by one",
        escaped_path(path)
    )]
    SameName {
        /// The directory or file.
        path: PathBuf,
        /// The name.
        name: ImageName,
    },
}

/// The end of a message that lists names.
pub(super) fn known(tags: &[String]) -> String {
    const SHOWN: usize = 12;
    if tags.is_empty() {
        return "those in it have no names".to_owned();
    }
    let more = if tags.len() > SHOWN { ", ..." } else { "" };
    let shown: Vec<_> = tags
        .iter()
        .take(SHOWN)
        .map(|tag| escaped(tag).to_string())
        .collect();
    format!("there is {}{more}", shown.join(", "))
}

pub(super) fn platforms(found: &[Platform]) -> String {
    let found: Vec<_> = found.iter().map(Platform::to_string).collect();
    found.join(", ")
}

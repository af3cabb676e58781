//! Where images come from: what a caller names, and what is found there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use thiserror::Error;

use super::files::Files;
use super::{archive, docker, layout};
use crate::disk::Staging;
use crate::error::{Context, Result};
use crate::oci::{Descriptor, Platform, refuse};
use crate::values::{
    Digest, DigestError, ImageName, LATEST, NameError, Reference, escaped, escaped_path,
    is_component,
};

/// Names an image outside the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The form it has.
    pub form: Form,
    /// The directory or file.
    pub path: PathBuf,
    /// Which of several images in it; not needed where there is one.
    pub tag: Option<String>,
}

/// The form of an image outside the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// An OCI image layout in a directory.
    Oci,
    /// An OCI image layout in a tar archive, which may be compressed.
    OciArchive,
    /// What `docker save` and `podman save` write; it may be compressed.
    DockerArchive,
}

impl Form {
    const ALL: [Self; 3] = [Self::Oci, Self::OciArchive, Self::DockerArchive];

    /// What stands before the colon.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

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

impl Source {
    /// Reads `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:TAG]`. As for other
    /// tools, the path ends at its first colon.
    ///
    /// # Errors
    /// [`SourceError::Form`] and [`SourceError::NoPath`].
    pub fn parse(text: &str) -> std::result::Result<Self, SourceError> {
        let split = text.split_once(':');
        let (form, rest) = split
            .and_then(|(prefix, rest)| {
                let form = Form::ALL.into_iter().find(|form| form.prefix() == prefix)?;
                Some((form, rest))
            })
            .ok_or_else(|| SourceError::Form(text.to_owned()))?;
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag).filter(|tag| !tag.is_empty())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(SourceError::NoPath(text.to_owned()));
        }
        Ok(Self {
            form,
            path: path.into(),
            tag: tag.map(str::to_owned),
        })
    }

    /// Opens the source. An archive that has to be copied first can take long, so `interrupted` is
    /// asked meanwhile.
    pub(super) fn open(
        &self,
        staging: &Staging,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Arc<Files>> {
        Ok(Arc::new(match self.form {
            Form::Oci => {
                self.check_directory()?;
                Files::Directory(self.path.clone())
            }
            Form::OciArchive | Form::DockerArchive => {
                Files::Archive(archive::open(&self.path, staging, interrupted)?)
            }
        }))
    }

    /// Finds the image: reads and verifies its documents.
    pub(crate) fn find(
        &self,
        wanted: Option<&Platform>,
        staging: &Staging,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Found> {
        let files = self.open(staging, interrupted)?;
        match self.form {
            Form::Oci | Form::OciArchive => layout::find(self, &files, wanted),
            Form::DockerArchive => docker::find(self, &files, wanted),
        }
    }

    /// Finds all images, each of which has a name of its own.
    pub(crate) fn find_all(
        &self,
        wanted: Option<&Platform>,
        staging: &Staging,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<(ImageName, Found)>> {
        let path = || self.path.clone();
        let files = self.open(staging, interrupted)?;
        let all = match self.form {
            Form::Oci | Form::OciArchive => layout::find_all(self, &files, wanted)?,
            Form::DockerArchive => docker::find_all(self, &files, wanted)?,
        };
        let mut named: Vec<(ImageName, Found)> = Vec::with_capacity(all.len());
        for found in all {
            let name = found.name.clone()?;
            if named.iter().any(|(other, _)| *other == name) {
                let path = path();
                return Err(SourceError::SameName { path, name }.into());
            }
            named.push((name, found));
        }
        match named.is_empty() {
            true => Err(SourceError::Empty(path()).into()),
            false => Ok(named),
        }
    }

    /// The name in the store for a full name, which may have a digest that must be one of these. Of
    /// names that are Docker's, what Docker does not show is left out.
    pub(super) fn full_name(
        &self,
        text: &str,
        digests: &[Digest],
        of_docker: bool,
    ) -> Result<ImageName, SourceError> {
        let mut reference = Reference::parse(text).map_err(|_| self.bad_name(text))?;
        if let (Some(wanted), Some(found)) = (reference.digest, digests.last())
            && !digests.contains(&wanted)
        {
            let (name, found) = (text.to_owned(), *found);
            return Err(SourceError::OtherDigest {
                name,
                wanted,
                found,
            });
        }
        if of_docker {
            reference.repository = reference.short_repository().to_owned();
        }
        Ok(ImageName::of(&reference))
    }

    /// The name in the store for an image without a full name: that of the file, and a tag.
    pub(super) fn own_name(&self, tag: Option<&str>) -> Result<ImageName, SourceError> {
        let base = self.base_name();
        let base = base.ok_or_else(|| SourceError::NoName(self.path.clone()))?;
        let repository = match is_component(&base) {
            true => base,
            false => words(&base),
        };
        if repository.is_empty() {
            return Err(SourceError::NoName(self.path.clone()));
        }
        let name = format!("{repository}:{}", tag.unwrap_or(LATEST));
        name.parse().map_err(|_| self.bad_name(&name))
    }

    pub(super) fn bad_name(&self, name: &str) -> SourceError {
        SourceError::BadName {
            path: self.path.clone(),
            fault: NameError::Image(name.to_owned()),
        }
    }

    /// Makes sure that there is a directory and that it can be read.
    pub(super) fn check_directory(&self) -> Result<()> {
        match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                Err(SourceError::Kind {
                    path: self.path.clone(),
                    what: "an OCI image layout",
                    why: "it is no directory; what is in a file is named by oci-archive: or docker-archive:"
                        .to_owned(),
                }
                .into())
            }
            read => read.map(drop).context("open", &self.path),
        }
    }

    /// What the path is called, without what says only how it is packed.
    pub(super) fn base_name(&self) -> Option<String> {
        let path = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        let name = path.file_name()?.to_string_lossy().into_owned();
        if self.form == Form::Oci {
            return Some(name);
        }
        let packed = [".gz", ".zst", ".xz", ".bz2", ".tgz", ".txz", ".tbz2"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let name = packed.unwrap_or(&name);
        let stem = Path::new(name).file_stem()?;
        Some(stem.to_string_lossy().into_owned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.form.prefix(), escaped_path(&self.path))?;
        match &self.tag {
            Some(tag) => write!(f, ":{}", escaped(tag)),
            None => Ok(()),
        }
    }
}

/// The letters and digits of a file name, with single separators between them.
pub(super) fn words(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => name.push(letter),
            _ if name.is_empty() || name.ends_with(['.', '_', '-']) => {}
            separator @ ('.' | '_') => name.push(separator),
            _ => name.push('-'),
        }
    }
    name.truncate(name.trim_end_matches(['.', '_', '-']).len());
    name
}

/// An image that was found: its documents are verified, its layers are not yet.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where its layers are.
    pub(crate) files: Arc<Files>,
    /// The name to store it under if the caller gives none.
    pub(crate) name: Result<ImageName, SourceError>,
    /// The manifest as it is; a `docker save` archive has none.
    pub(crate) manifest: Option<Document>,
    pub(crate) config: Document,
    pub(crate) configuration: ImageConfiguration,
    /// Bottom first.
    pub(crate) layers: Vec<FoundLayer>,
}

/// A verified document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

/// A layer as its image names it.
#[derive(Debug, Clone)]
pub(crate) struct FoundLayer {
    pub(crate) diff_id: Digest,
    /// Where it is among the files of the source.
    pub(crate) file: String,
    /// What it is called in errors.
    pub(crate) label: String,
    /// Digest and size of the blob; only a layer in a `docker save` archive may come without.
    pub(crate) blob: Option<(Digest, u64)>,
}

/// The DiffIDs in a configuration, checked.
pub(crate) fn diff_ids(configuration: &ImageConfiguration, document: &str) -> Result<Vec<Digest>> {
    let ids = configuration.rootfs().diff_ids().iter();
    let ids = ids.map(|id| match id.parse() {
        Ok(id) => Ok(id),
        Err(error) => refuse(document, &DigestError::to_string(&error)),
    });
    Ok(ids.collect::<std::result::Result<_, _>>()?)
}

/// Makes sure that an image is for the platform that was asked for. If none was, one that is not
/// for this machine is none the less what the source names.
pub(super) fn check_platform(
    configuration: &ImageConfiguration,
    wanted: Option<&Platform>,
) -> std::result::Result<(), SourceError> {
    let own = platform_of(configuration);
    if !own.is_known() {
        return Ok(());
    }
    match wanted {
        Some(wanted) if own.suits(wanted).is_none() => Err(SourceError::NoPlatform {
            wanted: wanted.clone(),
            found: vec![own],
        }),
        Some(_) => Ok(()),
        None => {
            let host = Platform::host();
            if own.suits(&host).is_none() {
                log::warn!("the image is for {own}, this machine is {host}");
            }
            Ok(())
        }
    }
}

/// The platform in a configuration.
pub(crate) fn platform_of(configuration: &ImageConfiguration) -> Platform {
    Platform::new(
        &configuration.os().to_string(),
        &configuration.architecture().to_string(),
        configuration.variant().as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::select::Choice;
    use super::*;

    #[test]
    fn sources_are_parsed() {
        for (text, form, path, tag) in [
            ("oci:dir", Form::Oci, "dir", None),
            ("oci:dir:", Form::Oci, "dir", None),
            (
                "oci:/a/b:quay.io/x/y:1",
                Form::Oci,
                "/a/b",
                Some("quay.io/x/y:1"),
            ),
            (
                "oci-archive:x.tar:latest",
                Form::OciArchive,
                "x.tar",
                Some("latest"),
            ),
            ("docker-archive:./y", Form::DockerArchive, "./y", None),
        ] {
            let source = Source::parse(text).unwrap();
            assert_eq!(
                (source.form, source.path.to_str()),
                (form, Some(path)),
                "{text}"
            );
            assert_eq!(source.tag.as_deref(), tag, "{text}");
        }
        for text in ["", "dir", "docker://x", "oci", "OCI:dir", "dir:x"] {
            assert_eq!(Source::parse(text), Err(SourceError::Form(text.to_owned())));
        }
        for text in ["oci:", "oci::tag", "docker-archive:"] {
            assert_eq!(
                Source::parse(text),
                Err(SourceError::NoPath(text.to_owned()))
            );
        }
    }

    #[test]
    fn a_file_name_gives_words() {
        for (text, name) in [
            ("my image (2).oci", "my-image-2-.oci"),
            ("Debian", "debian"),
            ("--x--", "x"),
            ("a/b", "a-b"),
            ("\u{fc}\u{fc}", ""),
        ] {
            assert_eq!(words(text), name.replace("-.", "-"), "{text}");
        }
    }

    #[test]
    fn an_image_is_chosen_by_name_number_or_digest() {
        let digest = Digest::of(b"");
        let source = |tag: &str| Source::parse(&format!("oci:d:{tag}")).unwrap();
        assert_eq!(source("").choice(), Ok(Choice::Only));
        assert_eq!(source("@12").choice(), Ok(Choice::Number(12)));
        for (text, name, wanted) in [
            ("a:1", Some("a:1"), None),
            ("a@b", Some("a@b"), None),
            (&format!("@{digest}"), None, Some(digest)),
            (&format!("a:1@{digest}"), Some("a:1"), Some(digest)),
        ] {
            let digest = wanted;
            assert_eq!(
                source(text).choice(),
                Ok(Choice::Named { text, name, digest })
            );
        }
        for text in ["@", "@x", "@-1", "@sha256:00", "a@sha256:00", "a@md5:0"] {
            let error = Err(SourceError::Choice(text.to_owned()));
            assert_eq!(source(text).choice(), error);
        }
    }

    #[test]
    fn a_name_follows_from_the_file() {
        for (text, name) in [
            ("oci:some/debian.d", "debian.d"),
            ("oci-archive:some/debian.tar", "debian"),
            ("oci-archive:debian.tar.gz", "debian"),
            ("docker-archive:debian.tgz", "debian"),
            ("docker-archive:debian-12.1.tar.zst", "debian-12.1"),
        ] {
            let source = Source::parse(text).unwrap();
            assert_eq!(source.base_name().as_deref(), Some(name), "{text}");
        }
    }
}

//! Where images come from: what a caller names, and what is found there.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Result, SourceError};
use crate::values::{
    Digest, ImageName, LATEST, NameError, Reference, escaped, escaped_path, is_component,
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
        let repository = if is_component(&base) {
            base
        } else {
            words(&base)
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

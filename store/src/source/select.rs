//! Choosing one image among several: by name, number or digest, then by platform.

use std::path::Path;

use super::spec::Source;
use crate::error::SourceError;
use crate::oci::{Descriptor, Platform};
use crate::values::{Digest, Reference};

/// Which of several images a source means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice<'s> {
    /// The only one.
    Only,
    /// That of this number, from zero.
    Number(usize),
    /// That of this name and digest, or of one of both.
    Named {
        /// What the source says, as it is.
        text: &'s str,
        name: Option<&'s str>,
        digest: Option<Digest>,
    },
}

impl Source {
    /// Reads `NAME`, `@NUMBER`, `@DIGEST` or `NAME@DIGEST` behind the path.
    pub(super) fn choice(&self) -> Result<Choice<'_>, SourceError> {
        let Some(text) = self.tag.as_deref() else {
            return Ok(Choice::Only);
        };
        let Some((name, after)) = text.rsplit_once('@') else {
            let (name, digest) = (Some(text), None);
            return Ok(Choice::Named { text, name, digest });
        };
        if let ("", Ok(number)) = (name, after.parse()) {
            return Ok(Choice::Number(number));
        }
        let digest = after.parse();
        if digest.is_err() && (name.is_empty() || after.contains(':')) {
            return Err(SourceError::Choice(text.to_owned()));
        }
        Ok(match digest {
            Ok(digest) => Choice::Named {
                text,
                name: Some(name).filter(|name| !name.is_empty()),
                digest: Some(digest),
            },
            // A layout may have names with an @ in them.
            Err(_) => Choice::Named {
                text,
                name: Some(text),
                digest: None,
            },
        })
    }
}

/// The image of a source with this number.
pub(super) fn by_number<T>(
    source: &Source,
    mut all: Vec<T>,
    number: usize,
) -> Result<T, SourceError> {
    let count = all.len();
    if number >= count {
        return Err(SourceError::NoNumber {
            path: source.path.clone(),
            number,
            count,
        });
    }
    Ok(all.swap_remove(number))
}

/// The descriptors in `index.json` that the source means: one image, for one or more platforms.
pub(super) fn choose(
    source: &Source,
    mut all: Vec<Descriptor>,
) -> Result<Vec<Descriptor>, SourceError> {
    let path = || source.path.clone();
    if all.is_empty() {
        return Err(SourceError::Empty(path()));
    }
    let names = labels(&all);
    match source.choice()? {
        Choice::Only => {}
        Choice::Number(number) => return by_number(source, all, number).map(|one| vec![one]),
        Choice::Named { text, name, digest } => {
            all = named(all, text, name);
            let known = all.first().map(|one| one.digest);
            all.retain(|one| {
                digest.is_none_or(|digest| one.digest == digest) || one.ref_name() == Some(text)
            });
            match (all.is_empty(), digest, known) {
                (false, ..) => {}
                (true, Some(wanted), Some(found)) if name.is_some() => {
                    let name = name.unwrap_or_default().to_owned();
                    return Err(SourceError::OtherDigest {
                        name,
                        wanted,
                        found,
                    });
                }
                (true, ..) => {
                    let (path, tag, tags) = (path(), text.to_owned(), names);
                    return Err(SourceError::NoTag { path, tag, tags });
                }
            }
        }
    }
    let tags = labels(&all);
    match <[_; 1]>::try_from(images(all)) {
        Ok([image]) => Ok(image),
        Err(_) => Err(SourceError::Several { path: path(), tags }),
    }
}

/// The descriptors of a name: of exactly this one, else of another form of it.
fn named(mut all: Vec<Descriptor>, text: &str, name: Option<&str>) -> Vec<Descriptor> {
    let Some(name) = name else {
        return all;
    };
    for exact in [text, name] {
        if all.iter().any(|one| one.names().any(|own| own == exact)) {
            all.retain(|one| one.names().any(|own| own == exact));
            return all;
        }
    }
    let wanted = Reference::parse(name).ok();
    all.retain(|one| {
        one.names()
            .any(|own| match (Reference::parse(own), &wanted) {
                (Ok(own), Some(wanted)) => own.is_same(wanted),
                _ => false,
            })
    });
    all
}

/// Takes a list of descriptors apart into images. Descriptors of one name for several platforms are
/// one; of one name for one platform they are several.
pub(super) fn images(all: Vec<Descriptor>) -> Vec<Vec<Descriptor>> {
    let mut images: Vec<Vec<Descriptor>> = Vec::new();
    for descriptor in all.into_iter().filter(|one| !is_attestation(one)) {
        let same = images.iter_mut().find(|image| {
            let same_name = |one: &Descriptor| one.full_name() == descriptor.full_name();
            image.iter().all(|one| {
                let other_platform = one.platform.is_some()
                    && descriptor.platform.is_some()
                    && one.platform != descriptor.platform;
                same_name(one) && (other_platform || one.digest == descriptor.digest)
            })
        });
        match same {
            Some(image) => image.push(descriptor),
            None => images.push(vec![descriptor]),
        }
    }
    images
}

/// Whether this goes with an image: attestations say that they are for nothing known.
fn is_attestation(descriptor: &Descriptor) -> bool {
    let platform = descriptor.platform.as_ref();
    platform.is_some_and(|platform| platform.os == "unknown")
}

/// How images can be named, each once: by their names where these differ, else with their digests.
fn labels(all: &[Descriptor]) -> Vec<String> {
    let images = images(all.to_vec());
    let name = |image: &Vec<Descriptor>| {
        image
            .first()
            .and_then(Descriptor::full_name)
            .map(str::to_owned)
    };
    let names: Vec<_> = images.iter().map(name).collect();
    let mut labels: Vec<String> = images
        .iter()
        .zip(&names)
        .filter_map(|(image, own)| {
            let alone = names.iter().filter(|name| *name == own).count() == 1;
            match own {
                Some(own) if alone => Some(own.clone()),
                own => {
                    let digest = image.first()?.digest;
                    Some(format!("{}@{digest}", own.as_deref().unwrap_or_default()))
                }
            }
        })
        .collect();
    labels.sort_unstable();
    labels
}

/// The descriptor for the wanted platform, or for this machine. The only one there is is taken unless
/// it says that it is for another platform than the one asked for.
pub(super) fn by_platform(
    source: &Path,
    mut all: Vec<Descriptor>,
    wanted: Option<&Platform>,
) -> Result<Descriptor, SourceError> {
    all.retain(|one| !is_attestation(one));
    if let [only] = &all[..]
        && (only.platform.is_none() || wanted.is_none())
    {
        return Ok(only.clone());
    }
    let host = Platform::host();
    let wanted = wanted.unwrap_or(&host);
    let suits = |descriptor: &Descriptor| descriptor.platform.as_ref()?.suits(wanted);
    // Of several that suit equally well the first is taken, as other tools do.
    let best = all.iter().rev().filter_map(|one| Some((suits(one)?, one)));
    if let Some((_, best)) = best.max_by_key(|(fit, _)| *fit) {
        return Ok(best.clone());
    }
    let mut found: Vec<_> = all.into_iter().filter_map(|one| one.platform).collect();
    found.sort_unstable_by_key(Platform::to_string);
    found.dedup();
    if found.is_empty() {
        return Err(SourceError::Several {
            path: source.to_owned(),
            tags: Vec::new(),
        });
    }
    Err(SourceError::NoPlatform {
        wanted: wanted.clone(),
        found,
    })
}

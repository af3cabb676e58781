//! Choosing one image among several: by name, then by platform.

use super::{Source, SourceError};
use crate::Platform;
use crate::oci::Descriptor;

/// The descriptors in `index.json` that the source means.
///
/// Several may have one name, for several platforms. Without a tag in the source there must be one
/// name, or none at all.
pub(super) fn by_name(
    source: &Source,
    all: Vec<Descriptor>,
) -> Result<Vec<Descriptor>, SourceError> {
    let path = || source.path.clone();
    if all.is_empty() {
        return Err(SourceError::Empty(path()));
    }
    let tags = tags(&all);
    let Some(tag) = &source.tag else {
        let mut names: Vec<_> = all.iter().map(Descriptor::ref_name).collect();
        names.sort_unstable();
        names.dedup();
        return match names.len() {
            1 => Ok(all),
            _ => Err(SourceError::Several { path: path(), tags }),
        };
    };
    let mut found = all;
    found.retain(|descriptor| descriptor.names().any(|name| name == tag));
    if found.is_empty() {
        let tag = tag.clone();
        return Err(SourceError::NoTag {
            path: path(),
            tag,
            tags,
        });
    }
    Ok(found)
}

/// All names, each once.
fn tags(all: &[Descriptor]) -> Vec<String> {
    let named = all
        .iter()
        .filter_map(|descriptor| descriptor.names().next());
    let mut tags: Vec<_> = named.map(str::to_owned).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// The descriptor for the wanted platform, or for this machine. The only one there is is taken unless
/// it says that it is for another platform than the one asked for.
pub(super) fn by_platform(
    source: &Source,
    mut all: Vec<Descriptor>,
    wanted: Option<&Platform>,
) -> Result<Descriptor, SourceError> {
    // Attestations that go with an image say they are for nothing known.
    all.retain(|one| one.platform.as_ref().is_none_or(|own| own.os != "unknown"));
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
            path: source.path.clone(),
            tags: Vec::new(),
        });
    }
    Err(SourceError::NoPlatform {
        wanted: wanted.clone(),
        found,
    })
}

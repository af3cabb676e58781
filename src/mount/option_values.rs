//! The values of mount options, and how a list of options is split.
//!
//! Options are separated by commas, layers in `lowerdir` by colons; a backslash takes the meaning
//! from either, and from itself, as in the kernel's overlay.

use std::path::PathBuf;
use std::time::Duration;

use plyfs_fs::{IdRange, Ids};
use plyfs_fuse::{EnabledRequests, SuppressedRequest};

use crate::error::{CliError, Result};

/// The layers that `lowerdir=` names, and those after `::`, which hold data only.
pub(crate) fn layers(value: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut lowers, mut data) = (Vec::new(), Vec::new());
    let mut parts = split(value, ':').into_iter().map(PathBuf::from);
    let empty = |path: &PathBuf| path.as_os_str().is_empty();
    while let Some(part) = parts.next() {
        if !empty(&part) && data.is_empty() {
            lowers.push(part);
            continue;
        }
        match parts.next() {
            Some(path) if empty(&part) && !empty(&path) && !lowers.is_empty() => data.push(path),
            _ if !empty(&part) => {
                return Err(CliError::new(
                    "lowerdir= names a layer below one of data; after the first \"::\", \"::\" \
                     goes before every one",
                ));
            }
            _ => return Err(CliError::new("lowerdir= names an empty path")),
        }
    }
    Ok((lowers, data))
}

pub(crate) fn switch(name: &str, value: &str) -> Result<bool> {
    Ok(one_of(name, value, &["off", "on"])? == 1)
}

/// Which of these the value is.
pub(crate) fn one_of(name: &str, value: &str, known: &[&str]) -> Result<usize> {
    let position = known.iter().position(|known| *known == value);
    position.ok_or_else(|| bad_value(name, value, &known.join(", ")))
}

pub(crate) fn bad_value(name: &str, value: &str, known: &str) -> CliError {
    CliError::new(format_args!("{name}= takes {known}, not {value:?}"))
}

pub(crate) fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| CliError::new(format_args!("{name}= takes a number, not {value:?}")))
}

/// One id for all goes before every other way, wherever it is named.
pub(crate) fn set_unless_squashed(ids: &mut Ids, to: Ids) {
    if !matches!(ids, Ids::Squashed(_)) {
        *ids = to;
    }
}

/// A map of ids, with the id for all that are in none of its ranges.
pub(crate) fn mapped_ids(name: &str, value: &str, overflow: &str) -> Result<Ids> {
    /// What kernels begin with.
    const OVERFLOW: u32 = 65534;
    let overflow = std::fs::read_to_string(overflow).ok();
    let overflow = overflow.and_then(|id| id.trim().parse().ok());
    Ok(Ids::Mapped {
        ranges: id_ranges(name, value)?,
        overflow: overflow.unwrap_or(OVERFLOW),
    })
}

/// Triples of first id on disk, first id shown, and count, all separated by colons, as the container
/// tools write them: they may put one more colon before the first. These are the lines of a uid_map:
/// what is on disk are the ids of the container, and they are shown as the ids that these have here,
/// so that the namespace of the container makes them its own again.
pub(crate) fn id_ranges(name: &str, value: &str) -> Result<Vec<IdRange>> {
    let numbers = value.trim_start_matches(':').split(':');
    let numbers: Vec<u32> = numbers
        .map(|text| number(name, text))
        .collect::<Result<_>>()?;
    let (triples, []) = numbers.as_chunks() else {
        return Err(bad_value(name, value, "triples of STORED:SHOWN:COUNT"));
    };
    let range = |&[stored, shown, count]: &[u32; 3]| IdRange {
        shown,
        stored,
        count,
    };
    Ok(triples.iter().map(range).collect())
}

/// Words for requests, with colons between them.
pub(crate) fn requests(name: &str, value: &str) -> Result<EnabledRequests> {
    let known = SuppressedRequest::ALL.map(|(word, _)| word);
    let request = |word| Ok(SuppressedRequest::ALL[one_of(name, word, &known)?].1);
    value.split(':').map(request).collect()
}

pub(crate) fn seconds(value: &str) -> Result<Duration> {
    let seconds: f64 = number("timeout", value)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| CliError::new(format_args!("timeout= takes seconds, not {value:?}")))
}

/// Splits at a separator that has no backslash before it. The parts keep their backslashes but for
/// those before the separator, so that they can be split at another one.
pub(crate) fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = match parts.last_mut() {
            Some(part) if c != separator => part,
            _ => {
                parts.push(String::new());
                continue;
            }
        };
        match (c, separator) {
            ('\\', ',') => {
                // Kept for the next split, which reads the rest.
                match chars.next() {
                    Some(',') => part.push(','),
                    Some(other) => part.extend(['\\', other]),
                    None => part.push('\\'),
                }
            }
            ('\\', _) => part.extend(chars.next().or(Some('\\'))),
            _ => part.push(c),
        }
    }
    parts
}

pub(crate) fn unescape(text: &str) -> String {
    // No path holds a NUL, so nothing is split.
    split(text, '\0').concat()
}

//! What two results that differ have in common with others that differ in the same way.

use std::collections::{BTreeMap, BTreeSet};

/// The lines that differ between two trees, at most a few.
pub fn differing_lines(kernel: &str, plyfs: &str, separator: char) -> [String; 2] {
    let named = |text: &'_ str| -> BTreeMap<String, String> {
        let pair = |line: &str| {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            (name.to_owned(), rest.to_owned())
        };
        text.split(separator).map(pair).collect()
    };
    let (kernel, plyfs) = (named(kernel), named(plyfs));
    let mut sides = [Vec::new(), Vec::new()];
    let mut names: Vec<_> = kernel.keys().chain(plyfs.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let pair = [kernel.get(name), plyfs.get(name)];
        if pair[0] == pair[1] || sides[0].len() >= 4 {
            continue;
        }
        for (side, line) in sides.iter_mut().zip(pair) {
            side.push(match line {
                Some(line) => format!("{name} {line}"),
                None => format!("{name} is missing"),
            });
        }
    }
    sides.map(|lines| lines.join("\n    "))
}

/// What plyfs left in its upper layer, and what the kernel left of the same names: types and records.
///
/// The kernel copies a file up when it is opened for writing, and plyfs, which is not told of opening,
/// when it is written to; so the kernel may have more, but not less.
pub fn leftovers(kernel: &str, plyfs: &str, separator: char) -> [String; 2] {
    let [kernel_redirects, plyfs_redirects] =
        [kernel, plyfs].map(|side| redirects(side, separator));
    let brief = |line: &str, redirects: &Redirects<'_>| {
        let mut words = line.split(' ');
        let name_and_kind: Vec<_> = words.by_ref().take(2).collect();
        let path = name_and_kind[0];
        let is_file = name_and_kind.get(1) == Some(&"file");
        let records = words
            .filter(|word| word.contains(".overlay."))
            .filter_map(|word| match is_file {
                true => file_record(path, word),
                false => directory_record(path, word, redirects),
            });
        let all: Vec<_> = name_and_kind
            .iter()
            .map(|word| (*word).to_owned())
            .chain(records)
            .collect();
        all.join(" ")
    };
    // Which of the names of one file in the index are in the upper layer already tells nothing.
    let counted = |line: &String| line.contains(".overlay.nlink=");
    let lines = plyfs.split(separator);
    let lines = lines.map(|line| brief(line, &plyfs_redirects));
    let (elsewhere, plyfs): (Vec<_>, Vec<_>) = lines.partition(counted);
    let plyfs = without_ways_to(&elsewhere, plyfs, kernel, separator);
    // The kernel makes a directory opaque before a rename that fails. Where plyfs has to, and does not,
    // what the kernel shows of its upper layer differs.
    let opaque_alone = |line: &String| {
        let line = line
            .split_once(" trusted.overlay.opaque=y")
            .or(line.split_once(" user.overlay.opaque=y"));
        line.map(|(before, after)| format!("{before}{after}"))
            .filter(|line| plyfs.contains(line))
    };
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let names: BTreeSet<_> = plyfs.iter().map(|line| name(line)).collect();
    let kernel: Vec<_> = kernel
        .split(separator)
        .filter(|line| names.contains(&name(line)))
        .map(|line| brief(line, &kernel_redirects))
        .map(|line| opaque_alone(&line).unwrap_or(line))
        .collect();
    [kernel, plyfs].map(|lines| lines.join(&separator.to_string()))
}

/// Takes away the directories that the kernel did not copy up, and that were copied up for nothing else
/// than these names of files in the index.
fn without_ways_to(
    names: &[String],
    mut lines: Vec<String>,
    kernel: &str,
    separator: char,
) -> Vec<String> {
    let path = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let kernels: BTreeSet<_> = kernel.split(separator).map(path).collect();
    // The deepest first: what is above it may lead to nothing else.
    for index in (0..lines.len()).rev() {
        let above = format!("{}/", path(&lines[index]));
        let leads_to = |line: &String| line.starts_with(&above);
        let is_way = names.iter().any(leads_to) && !lines.iter().any(leads_to);
        if is_way && !kernels.contains(&path(&lines[index])) {
            lines.remove(index);
        }
    }
    lines
}

/// Redirects by the paths that have them.
type Redirects<'a> = BTreeMap<&'a str, &'a str>;

const REDIRECT: &str = ".overlay.redirect=";

fn redirects(side: &str, separator: char) -> Redirects<'_> {
    let lines = side.split(separator);
    lines
        .filter_map(|line| {
            let (path, words) = line.split_once(' ')?;
            let redirect = words.split(' ').find_map(|word| word.split_once(REDIRECT));
            Some((path, redirect?.1))
        })
        .collect()
}

/// Where a path of an upper directory leads in the layers below, by its redirect and those above it.
fn below(path: &str, redirects: &Redirects<'_>) -> String {
    match redirects.get(path) {
        Some(to) if to.starts_with('/') => (*to).to_owned(),
        Some(name) => beside(path, name, redirects),
        None => without_redirect(path, redirects),
    }
}

fn without_redirect(path: &str, redirects: &Redirects<'_>) -> String {
    match path.rsplit_once('/') {
        Some((_, "")) | None => path.to_owned(),
        Some((_, name)) => beside(path, name, redirects),
    }
}

/// What a name leads to in the directory of a path.
fn beside(path: &str, name: &str, redirects: &Redirects<'_>) -> String {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = match parent {
        "" => String::new(),
        parent => below(parent, redirects),
    };
    format!("{parent}/{name}")
}

/// A record of a file, of a redirect only the last name, and none that is its own. The kernel writes a path
/// where the file has other names in the lower layer, plyfs when it is given another.
fn file_record(path: &str, record: &str) -> Option<String> {
    let Some((namespace, to)) = record.split_once(REDIRECT) else {
        return Some(record.to_owned());
    };
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let leads_to_itself = to == path || to == last(path);
    (!leads_to_itself).then(|| format!("{namespace}{REDIRECT}{}", last(to)))
}

/// A record of a directory, of a redirect where it leads, and none if it says nothing: the kernel keeps
/// that of a rename that failed.
fn directory_record(path: &str, record: &str, redirects: &Redirects<'_>) -> Option<String> {
    let Some((namespace, _)) = record.split_once(REDIRECT) else {
        return Some(record.to_owned());
    };
    let to = below(path, redirects);
    (to != without_redirect(path, redirects)).then(|| format!("{namespace}{REDIRECT}{to}"))
}

/// In what two results differ, without their values: fields of the first line that differs, or error
/// numbers.
pub fn signature(kernel: &str, plyfs: &str) -> String {
    let first = |text: &'_ str| text.lines().next().unwrap_or_default().to_owned();
    let (kernel, plyfs) = (first(kernel), first(plyfs));
    if is_error(&kernel) || is_error(&plyfs) {
        let class = |text: &str| match is_error(text) {
            true => text.to_owned(),
            false => "done".to_owned(),
        };
        return format!("{} {}", class(&kernel), class(&plyfs));
    }
    let fields = |text: &str| -> BTreeMap<String, String> {
        let field = |(index, word): (usize, &str)| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (index.to_string(), word.to_owned()),
        };
        text.split(' ').enumerate().map(field).collect()
    };
    let (kernel, plyfs) = (fields(&kernel), fields(&plyfs));
    let mut differing: Vec<_> = kernel
        .keys()
        .chain(plyfs.keys())
        .filter(|name| kernel.get(*name) != plyfs.get(*name))
        .cloned()
        .collect();
    differing.sort();
    differing.dedup();
    differing.join(" ")
}

fn is_error(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('E') && chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

//! Circles in a graph of imports.
//!
//! Files and folders are compared inside each folder: an import from one file to another ties the two members of the
//! innermost folder that has both. So a circle of files anywhere is a circle of members of some folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::imports::Edge;

/// Members of one folder that import each other.
pub struct Circle {
    pub folder: PathBuf,
    pub members: Vec<String>,
    /// The imports that tie them.
    pub edges: Vec<Edge>,
}

/// The ties of a folder's members: from one to another, and by which imports.
type Ties = BTreeMap<(String, String), Vec<Edge>>;

/// `x.rs` beside a folder `x` is that folder's `mod.rs`.
fn in_folder(file: &Path, folders: &BTreeSet<PathBuf>) -> PathBuf {
    let folder = file.with_extension("");
    if folders.contains(&folder) {
        folder.join("mod.rs")
    } else {
        file.to_owned()
    }
}

fn parts(file: &Path) -> Vec<String> {
    let names = file.components().map(Component::as_os_str);
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The ties inside each folder.
pub fn ties(edges: &[Edge]) -> BTreeMap<PathBuf, Ties> {
    let files = edges.iter().flat_map(|edge| [&edge.from, &edge.to]);
    let folders: BTreeSet<PathBuf> = files
        .filter_map(|file| file.parent().map(Path::to_owned))
        .collect();
    let mut found: BTreeMap<PathBuf, Ties> = BTreeMap::new();
    for edge in edges {
        let from = parts(&in_folder(&edge.from, &folders));
        let to = parts(&in_folder(&edge.to, &folders));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let folder: PathBuf = from[..common].iter().collect();
        let tie = (from[common].clone(), to[common].clone());
        found
            .entry(folder)
            .or_default()
            .entry(tie)
            .or_default()
            .push(edge.clone());
    }
    found
}

/// What can be reached from a member.
fn reach(ties: &Ties, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(member) = open.pop() {
        for (_, to) in ties.keys().filter(|(from, _)| *from == member) {
            if found.insert(to.clone()) {
                open.push(to.clone());
            }
        }
    }
    found
}

/// The circles inside each folder.
pub fn circles(edges: &[Edge]) -> Vec<Circle> {
    let mut found = Vec::new();
    for (folder, ties) in ties(edges) {
        let members: BTreeSet<&String> = ties.keys().map(|(from, _)| from).collect();
        let reached: BTreeMap<&String, BTreeSet<String>> = members
            .iter()
            .map(|member| (*member, reach(&ties, member)))
            .collect();
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        for (member, reachable) in &reached {
            if !reachable.contains(*member) || seen.contains(member) {
                continue;
            }
            let of_circle = |other: &&&String| {
                reachable.contains(**other) && reached[**other].contains(*member)
            };
            let circle: BTreeSet<&String> = members.iter().filter(of_circle).copied().collect();
            seen.extend(&circle);
            let inside = ties
                .iter()
                .filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
            found.push(Circle {
                folder: folder.clone(),
                members: circle.iter().map(|member| (*member).clone()).collect(),
                edges: inside.flat_map(|(_, edges)| edges.clone()).collect(),
            });
        }
    }
    found
}

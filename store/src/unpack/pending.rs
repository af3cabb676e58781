//! What is still to be done to the directories of a layer.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::policy::Meta;
use crate::values::limits;

/// A directory whose metadata is applied at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    /// What its entry says; `None` for one that has none and was made for what is in it.
    pub(super) meta: Option<Meta>,
    /// Access control lists, which would pass on to what is made in it, with their names.
    pub(super) acls: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it hides what is below it.
    pub(super) opaque: bool,
    /// Whether there are whiteouts in it.
    pub(super) whiteouts: bool,
    /// Whether a whiteout of it was met.
    pub(super) hidden: bool,
}

/// All directories of a layer by their paths; the root has the empty one.
#[derive(Debug, Default)]
pub(super) struct Pending {
    directories: BTreeMap<Vec<u8>, Directory>,
    /// What all this needs, in bytes, roughly.
    weight: usize,
}

/// What an entry of the map needs beside its path.
const ENTRY_WEIGHT: usize = 160;

impl Pending {
    /// The directory of this path.
    pub(super) fn at(&mut self, path: &[u8]) -> &mut Directory {
        if !self.directories.contains_key(path) {
            self.weight += ENTRY_WEIGHT + path.len();
        }
        self.directories.entry(path.to_vec()).or_default()
    }

    /// Whether the directory of this path has an entry.
    pub(super) fn has_entry(&self, path: &[u8]) -> bool {
        let directory = self.directories.get(path);
        directory.is_some_and(|directory| directory.meta.is_some())
    }

    /// Sets the access control lists of a directory.
    pub(super) fn set_acls(&mut self, path: &[u8], acls: Vec<(Vec<u8>, Vec<u8>)>) {
        let size = |acls: &[(Vec<u8>, Vec<u8>)]| -> usize {
            acls.iter()
                .map(|(name, value)| name.len() + value.len())
                .sum()
        };
        let added = size(&acls);
        let removed = size(&std::mem::replace(&mut self.at(path).acls, acls));
        self.weight = (self.weight + added).saturating_sub(removed);
    }

    /// Whether more is remembered than an import may need.
    pub(super) fn is_too_large(&self) -> bool {
        self.weight > limits::DIRECTORY_MEMORY
    }

    /// Whether the directory of this path, or one above it, is opaque.
    pub(super) fn is_under_opaque(&self, path: &[u8]) -> bool {
        let opaque = |path: &[u8]| self.directories.get(path).is_some_and(|dir| dir.opaque);
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        opaque(b"") || opaque(path) || slashes.filter_map(|(at, _)| path.get(..at)).any(opaque)
    }

    /// Forgets a directory that is removed, and all below it.
    pub(super) fn forget(&mut self, path: &[u8]) {
        // What is below begins with the path and a slash; between the two sorts `a-b` after `a`.
        let (first, last) = ([path, b"/"].concat(), [path, b"0"].concat());
        let below = (Bound::Included(&first[..]), Bound::Excluded(&last[..]));
        let below = self.directories.range::<[u8], _>(below);
        let mut gone: Vec<_> = below.map(|(path, _)| path.clone()).collect();
        gone.push(path.to_vec());
        for path in gone {
            if self.directories.remove(&path).is_some() {
                self.weight = self.weight.saturating_sub(ENTRY_WEIGHT + path.len());
            }
        }
    }

    /// All directories, the deeper before the ones they are in.
    pub(super) fn deepest_first(self) -> impl Iterator<Item = (Vec<u8>, Directory)> {
        self.directories.into_iter().rev()
    }

    /// Directories with whiteouts that hide nothing, since the directory is not merged with one
    /// below.
    pub(super) fn useless_whiteouts(&self) -> Vec<Vec<u8>> {
        let with = self.directories.iter().filter(|(_, dir)| dir.whiteouts);
        with.map(|(path, _)| path)
            .filter(|path| self.is_under_opaque(path))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::is_at_or_below;

    fn pending(paths: &[&str]) -> Pending {
        let mut pending = Pending::default();
        for path in paths {
            pending.at(path.as_bytes());
        }
        pending
    }

    #[test]
    fn children_come_before_their_parents() {
        let pending = pending(&["", "a", "a/b", "a-b", "a/b/c", "b"]);
        let order: Vec<_> = pending.deepest_first().map(|(path, _)| path).collect();
        for (at, path) in order.iter().enumerate() {
            for above in &order[..at] {
                assert!(!is_at_or_below(path, above), "{path:?} after {above:?}");
            }
        }
        assert_eq!(order.len(), 6);
    }

    #[test]
    fn what_is_removed_is_forgotten_with_all_below() {
        let mut pending = pending(&["", "a", "a-b", "a/b", "a/b/c", "ab"]);
        pending.forget(b"a");
        let left: Vec<_> = pending.directories.keys().cloned().collect();
        assert_eq!(left, [&b""[..], b"a-b", b"ab"]);
        for path in ["", "ab", "a-b", "none"] {
            pending.forget(path.as_bytes());
        }
        assert_eq!((pending.directories.len(), pending.weight), (0, 0));
    }

    #[test]
    fn opaque_holds_for_all_below() {
        let mut pending = pending(&["", "a", "a/b"]);
        pending.at(b"a").opaque = true;
        for (path, under) in [
            ("a", true),
            ("a/b", true),
            ("a/x/y", true),
            ("ab", false),
            ("", false),
        ] {
            assert_eq!(pending.is_under_opaque(path.as_bytes()), under, "{path}");
        }
        pending.at(b"").opaque = true;
        assert!(pending.is_under_opaque(b"ab"));
    }
}

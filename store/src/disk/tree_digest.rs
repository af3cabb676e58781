//! The digest of an unpacked layer, and where two trees differ.
//!
//! What counts is what a mount shows: names, kinds, modes, owners, modification times, device numbers, targets, data,
//! hard links, and the attributes that unpacking writes. Not access times, and not what the machine adds, such as
//! labels of a security module. With [`Ownership::Override`](crate::Ownership::Override) the owner on disk says nothing and does not count.

use std::collections::BTreeMap;
use std::path::Path;

use super::tree_facts::Facts;
use super::tree_walk::{Watch, walk};
use crate::error::Result;
use crate::values::{Digest, Hasher, LayerRecord, escaped};

/// A path in a layer, and what is wrong with what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path, without a slash at the beginning; empty for the root.
    pub path: Vec<u8>,
    /// What differs.
    pub what: &'static str,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}: {}", escaped(&self.path), self.what)
    }
}

/// The digest of the tree of a layer. Of the record, ownership and namespace of attributes count.
///
/// # Errors
/// Those of reading the tree; [`Error::Interrupted`](crate::Error::Interrupted) if `watch` says so.
pub(crate) fn tree_digest(root: &Path, record: &LayerRecord, watch: &Watch<'_>) -> Result<Digest> {
    let mut hasher = Hasher::new();
    walk(root, record, watch, &mut |path, facts| {
        facts.hash(path, &mut hasher)
    })?;
    Ok(hasher.finish())
}

/// Where a tree differs from what it should be.
///
/// # Errors
/// As [`tree_digest`].
pub(crate) fn differences(
    actual: &Path,
    wanted: &Path,
    record: &LayerRecord,
    watch: &Watch<'_>,
) -> Result<Vec<Difference>> {
    let list = |root: &Path| -> Result<BTreeMap<Vec<u8>, Facts>> {
        let mut all = BTreeMap::new();
        walk(root, record, watch, &mut |path, facts| {
            all.insert(path.to_vec(), facts);
        })?;
        Ok(all)
    };
    let (mut actual, wanted) = (list(actual)?, list(wanted)?);
    let mut found = Vec::new();
    for (path, wanted) in wanted {
        let what = match actual.remove(&path) {
            None => Some("is missing"),
            Some(actual) => actual.differs(&wanted),
        };
        found.extend(what.map(|what| Difference { path, what }));
    }
    let more = actual.into_keys();
    found.extend(more.map(|path| Difference {
        path,
        what: "is not part of the layer",
    }));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::AtFlags;

    use super::*;
    use crate::values::Ownership;

    fn record() -> LayerRecord {
        LayerRecord {
            diff_id: Digest::of(b""),
            size: 0,
            ownership: Ownership::Override,
            trusted: Some(false),
            facts: crate::LayerFacts::default(),
            tree: None,
            blobs: Vec::new(),
        }
    }

    fn make(root: &Path) {
        fs::create_dir_all(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "data").unwrap();
        fs::hard_link(root.join("d/f"), root.join("d/g")).unwrap();
        symlink("target", root.join("l")).unwrap();
        let time = std::time::UNIX_EPOCH;
        for path in ["d/f", "d", "."] {
            let file = fs::File::open(root.join(path)).unwrap();
            file.set_modified(time).unwrap();
        }
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
        };
        let link = root.join("l");
        rustix::fs::utimensat(rustix::fs::CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    #[test]
    fn every_change_of_a_tree_is_found_and_named() {
        let tmp = tempfile::tempdir().unwrap();
        let wanted = tmp.path().join("wanted");
        make(&wanted);
        let digest = |root: &Path| tree_digest(root, &record(), &|_| true).unwrap();
        type Change = fn(&Path);
        let changes: [(Change, &str); 7] = [
            (
                |root| fs::write(root.join("d/f"), "datb").unwrap(),
                "/d/f: has other data",
            ),
            (
                |root| fs::remove_file(root.join("d/g")).unwrap(),
                "/d/g: is missing",
            ),
            (
                |root| fs::write(root.join("d/new"), "").unwrap(),
                "/d/new: is not part of the layer",
            ),
            (
                |root| {
                    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o700)).unwrap()
                },
                "/d: has another mode",
            ),
            (
                |root| {
                    fs::remove_file(root.join("d/g")).unwrap();
                    fs::copy(root.join("d/f"), root.join("d/g")).unwrap();
                },
                "/d/g: has other data",
            ),
            (
                |root| {
                    fs::remove_file(root.join("l")).unwrap();
                    symlink("tarset", root.join("l")).unwrap();
                },
                "/l: has another target",
            ),
            (
                |root| {
                    let file = fs::File::open(root.join("d/f")).unwrap();
                    file.set_modified(std::time::SystemTime::now()).unwrap();
                },
                "/d/f: has another modification time",
            ),
        ];
        for (at, (change, said)) in changes.into_iter().enumerate() {
            let actual = tmp.path().join(at.to_string());
            make(&actual);
            assert_eq!(digest(&actual), digest(&wanted));
            change(&actual);
            assert_ne!(digest(&actual), digest(&wanted), "{said}");
            let found = differences(&actual, &wanted, &record(), &|_| true).unwrap();
            let found: Vec<String> = found.iter().map(Difference::to_string).collect();
            assert!(found.iter().any(|one| one == said), "{said}: {found:?}");
        }
    }

    #[test]
    fn attributes_count() {
        let tmp = tempfile::tempdir().unwrap();
        make(tmp.path());
        let digest = || tree_digest(tmp.path(), &record(), &|_| true).unwrap();
        let before = digest();
        let file = fs::File::open(tmp.path().join("d/f")).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::fsetxattr(&file, "user.x", b"1", flags).unwrap();
        let one = digest();
        rustix::fs::fsetxattr(&file, "user.x", b"2", flags).unwrap();
        assert!(before != one && one != digest());
    }
}

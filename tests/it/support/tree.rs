//! Everything a program can see of a tree, to compare two of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What is compared of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: &'static str,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of files, not of directories, where it depends on the file system.
    pub size: u64,
    pub rdev: u64,
    pub mtime: (i64, i64),
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The facts of every file below a directory, and of itself, by path.
pub fn facts(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    facts_without(root, None)
}

/// The same, without the files in the directory `closed` below the root. Another process may change those meanwhile.
pub fn facts_without(root: &Path, closed: Option<&str>) -> BTreeMap<Vec<u8>, Facts> {
    let closed = closed.map(Path::new);
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let below = path.strip_prefix(root).unwrap();
        let facts = facts_of(&path);
        if facts.kind == "directory" && closed != Some(below) {
            let entries = fs::read_dir(&path).unwrap();
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        }
        all.insert(below.as_os_str().as_bytes().to_vec(), facts);
    }
    all
}

fn facts_of(path: &Path) -> Facts {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let (kind, content) = match () {
        () if kind.is_dir() => ("directory", Vec::new()),
        () if kind.is_symlink() => {
            let target = fs::read_link(path).unwrap();
            ("symlink", target.as_os_str().as_bytes().to_vec())
        }
        () if kind.is_file() => ("file", fs::read(path).unwrap()),
        () if kind.is_fifo() => ("fifo", Vec::new()),
        () if kind.is_socket() => ("socket", Vec::new()),
        () if kind.is_char_device() => ("char", Vec::new()),
        () => ("block", Vec::new()),
    };
    Facts {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        size: if kind == "directory" { 0 } else { meta.size() },
        rdev: meta.rdev(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        content,
        xattrs: xattrs_of(path),
    }
}

pub fn xattrs_of(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

/// Fails with a list of what differs.
pub fn assert_same(left: &BTreeMap<Vec<u8>, Facts>, right: &BTreeMap<Vec<u8>, Facts>) {
    let mut differences = Vec::new();
    for path in left.keys().chain(right.keys()) {
        let (l, r) = (left.get(path), right.get(path));
        if l != r {
            let name = String::from_utf8_lossy(path);
            differences.push(format!("{name:?}:\n  {}\n  {}", brief(l), brief(r)));
        }
    }
    differences.dedup();
    let count = differences.len();
    differences.truncate(20);
    assert!(
        count == 0,
        "{count} differences\n{}",
        differences.join("\n")
    );
}

fn brief(facts: Option<&Facts>) -> String {
    let Some(facts) = facts else {
        return "missing".to_owned();
    };
    let mut facts = facts.clone();
    facts.content.truncate(60);
    format!("{facts:?}")
}

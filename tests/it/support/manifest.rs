//! A tree as text, a line a file: to compare trees that are not there at the same time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use plyfs_store::{Digest, escaped};

/// Describes every file below a directory: name, type, mode, owner, size, device, link target, hash
/// of the content, attributes, which names are one file, and time of change (not of directories,
/// which layers do not agree on).
pub fn describe(root: &Path) -> String {
    let mut lines = Vec::new();
    let mut first_names = HashMap::new();
    walk(root, Path::new(""), &mut first_names, &mut lines);
    lines.join("\n") + "\n"
}

fn walk(
    root: &Path,
    below: &Path,
    first_names: &mut HashMap<(u64, u64), String>,
    lines: &mut Vec<String>,
) {
    let path = root.join(below);
    let meta = fs::symlink_metadata(&path).unwrap();
    let name = format!("/{}", escaped(below.as_os_str().as_bytes()));
    lines.push(line(&path, &name, &meta, first_names));
    if meta.is_dir() {
        let entries = fs::read_dir(&path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            walk(root, &below.join(name), first_names, lines);
        }
    }
}

fn line(
    path: &Path,
    name: &str,
    meta: &fs::Metadata,
    first_names: &mut HashMap<(u64, u64), String>,
) -> String {
    let kind = meta.file_type();
    let mut line = format!("{name} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
    let mut add = |text: std::fmt::Arguments<'_>| line.write_fmt(text).unwrap();
    if kind.is_file() {
        add(format_args!(
            " {} {}",
            meta.len(),
            Digest::of(&fs::read(path).unwrap())
        ));
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        add(format_args!(
            " -> {}",
            escaped(target.as_os_str().as_bytes())
        ));
    }
    if kind.is_block_device() || kind.is_char_device() {
        let (major, minor) = (
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        );
        add(format_args!(" {major},{minor}"));
    }
    if !kind.is_dir() {
        add(format_args!(" {}.{:09}", meta.mtime(), meta.mtime_nsec()));
        if meta.nlink() > 1 {
            let first = first_names
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| name.to_owned());
            add(format_args!(" one with {first} ({})", meta.nlink()));
        }
    }
    for (name, value) in super::tree::xattrs_of(path) {
        add(format_args!(" {}={}", escaped(&name), escaped(&value)));
    }
    line
}

/// Fails with the lines that differ.
pub fn assert_same(left: &str, right: &str) {
    let (mut left, mut right) = (left.lines().peekable(), right.lines().peekable());
    let mut differences = Vec::new();
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (l, r) if l == r => {
                left.next();
                right.next();
            }
            (Some(l), Some(r)) if name_of(l) == name_of(r) => {
                differences.push(format!("  {l}\n  {r}"));
                left.next();
                right.next();
            }
            (Some(l), r) if r.is_none_or(|r| name_of(l) < name_of(r)) => {
                differences.push(format!("  only left: {l}"));
                left.next();
            }
            (_, r) => {
                differences.push(format!("  only right: {r:?}"));
                right.next();
            }
        }
    }
    let count = differences.len();
    differences.truncate(20);
    assert!(
        count == 0,
        "{count} differences:\n{}",
        differences.join("\n")
    );
}

fn name_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or(line)
}

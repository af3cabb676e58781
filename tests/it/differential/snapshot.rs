//! All there is in a tree, as a line a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::known;
use super::show::{self, Shown};
use super::text::escape;

/// What stands between the lines of an answer.
pub const SEPARATOR: char = '\u{1f}';

/// Every file below a directory, and itself.
pub fn tree(root: &str, shown: Shown) -> String {
    let mut lines = Vec::new();
    walk(Path::new(root), Path::new(""), shown, &mut lines);
    lines.join(&SEPARATOR.to_string())
}

/// What a path leads to.
pub fn one(path: &[u8]) -> String {
    match describe(Path::new(OsStr::from_bytes(path)), Shown::Merged) {
        Ok((line, _)) => line,
        Err(error) => show::error(error),
    }
}

fn walk(root: &Path, below: &Path, shown: Shown, lines: &mut Vec<String>) {
    let path = root.join(below);
    let name = format!(
        "/{}",
        escape(below.as_os_str().as_bytes()).replace("\"\"", "")
    );
    let described = describe(&path, shown);
    let (line, kind) = match described {
        Ok(described) => described,
        Err(error) => (show::error(error), FileType::Unknown),
    };
    lines.push(format!("{name} {line}"));
    if kind != FileType::Directory {
        return;
    }
    match names(&path) {
        Ok(names) => {
            for name in names {
                walk(root, &below.join(OsStr::from_bytes(&name)), shown, lines);
            }
        }
        Err(error) => lines.push(format!("{name} list={}", show::error(error))),
    }
}

fn names(path: &Path) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn describe(path: &Path, shown: Shown) -> Result<(String, FileType), Errno> {
    let bytes = path.as_os_str().as_bytes();
    let stat = show::statx(CWD, bytes, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let mut line = show::facts(&stat, shown);
    if kind == FileType::Symlink {
        let target = rustix::fs::readlinkat(CWD, path, Vec::new())?;
        line.push_str(&format!(" target={}", escape(target.as_bytes())));
    }
    if kind == FileType::RegularFile {
        line.push_str(&format!(" content={}", content(path)));
    }
    for (name, value) in xattrs(path)? {
        if let Some(value) = known::attribute(&name, &value, shown) {
            line.push_str(&format!(" {}={}", escape(&name), escape(&value)));
        }
    }
    Ok((line, kind))
}

fn content(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(data) => show::data(&data).replace(' ', "_"),
        Err(error) => match error.raw_os_error() {
            Some(number) => show::error(Errno::from_raw_os_error(number)),
            None => error.to_string(),
        },
    }
}

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

fn xattrs(path: &Path) -> Result<Attributes, Errno> {
    let mut names = [0; 4096];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0; 65536];
        let value = match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(length) => value[..length].to_vec(),
            Err(error) => known::of_unreadable(name, error).into_bytes(),
        };
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

//! Searches an upper directory for traces of FUSE mounts that the kernel's overlay, in the mode of the mount, does
//! not read, or reads in another way.
//!
//! The search costs a system call for every file. So it is done only where there can be traces, and it gives up
//! where there are too many files.

use std::fmt;
use std::path::{Path, PathBuf};

use plyfs_format::names::Record;
use plyfs_format::override_stat;

use super::plan::Mode;

/// What is looked for.
#[derive(Debug)]
pub(crate) struct ScanFor {
    pub(crate) mode: Mode,
    pub(crate) metacopies: bool,
    pub(crate) redirects: bool,
    /// Devices in `override_stat` records.
    pub(crate) devices: bool,
}

/// What was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trace {
    Metacopy(PathBuf),
    Redirect(PathBuf),
    Device(PathBuf),
    /// There are more files than the search may look at: a user who mounts does not want to wait for it.
    TooMany,
    /// The search could not read this path.
    Unknown(PathBuf),
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, what) = match self {
            Self::Metacopy(path) => (path, "has its data in a lower directory (metacopy)"),
            Self::Redirect(path) => (path, "was renamed by a redirect"),
            Self::Device(path) => (path, "is a device in an override_stat record"),
            Self::Unknown(path) => (path, "cannot be looked at for records of FUSE mounts"),
            Self::TooMany => {
                return f.write_str(
                    "the upper directory has more files than can be looked at for records of FUSE \
                     mounts",
                );
            }
        };
        write!(f, "{} {what}", path.display())
    }
}

/// Makes a trace of the path where it was found.
type Found = fn(PathBuf) -> Trace;

/// Searches an upper directory and returns the first trace found. `patience` is the number of files that the
/// search may look at.
pub(crate) fn search(upper: &Path, scan_for: &ScanFor, patience: Option<usize>) -> Option<Trace> {
    let namespace = scan_for.mode.namespace();
    let mut names: Vec<(&[u8], Found)> = Vec::new();
    if scan_for.metacopies {
        names.push((namespace.name(Record::Metacopy).to_bytes(), Trace::Metacopy));
    }
    if scan_for.redirects {
        names.push((namespace.name(Record::Redirect).to_bytes(), Trace::Redirect));
    }
    if scan_for.devices {
        names.push((override_stat::XATTR.as_bytes(), Trace::Device));
    }
    if names.is_empty() {
        return None;
    }
    if !upper.is_dir() {
        // Opening the layers reports what is wrong with it.
        return None;
    }
    let mut seen = 0;
    let mut buffer = vec![0; 64 << 10];
    let mut todo = vec![upper.to_owned()];
    while let Some(dir) = todo.pop() {
        let unknown = || Some(Trace::Unknown(dir.clone()));
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return unknown();
        };
        for entry in entries {
            let Ok((path, kind)) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))
            else {
                return unknown();
            };
            seen += 1;
            if patience.is_some_and(|patience| seen > patience) {
                return Some(Trace::TooMany);
            }
            // Files of other types have none of these attributes.
            if kind.is_file() || kind.is_dir() {
                let Ok(length) = rustix::fs::llistxattr(&path, &mut buffer[..]) else {
                    return Some(Trace::Unknown(path));
                };
                let listed = buffer.get(..length).unwrap_or_default();
                let mut listed = listed.split(|byte| *byte == 0);
                let found = listed.find_map(|one| {
                    let mut names = names.iter();
                    names.find(|(name, _)| *name == one)
                });
                if let Some((_, trace)) = found {
                    return Some(trace(path));
                }
            }
            if kind.is_dir() {
                todo.push(path);
            }
        }
    }
    None
}

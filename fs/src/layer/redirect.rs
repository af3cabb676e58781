//! Redirects: where a renamed directory goes on in the layers below.
//!
//! A directory that shows lower ones is moved by moving its upper directory alone, with a record of
//! the name or the path that the lower ones keep. A redirect without a slash names a directory next
//! to it, in the lower directories of its parent; one that begins with a slash names a path from the
//! root of each layer below (`Documentation/filesystems/overlayfs.rst`, "redirect_dir").

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::names::{Namespace, Record};
use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result, decided};
use crate::types::Name;

/// The longest redirect that is written, in bytes (`redirect_max` of the kernel).
const LONGEST: usize = 256;

/// Where a search goes on in the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// A name in the directory that is searched.
    Name(Name),
    /// A path from the root of a layer.
    Path(Arc<[Name]>),
}

impl Redirect {
    /// Reads a record.
    ///
    /// # Errors
    /// As the kernel's overlay: `INVAL` for one that names nothing, `ACCESS` for one with dots, which
    /// could lead out. What goes on below is then not known, and nothing else may be shown for it.
    pub(crate) fn parse(record: &[u8]) -> Result<Self> {
        let name = |bytes: &[u8]| match bytes {
            b"" => Err(decided(Errno::INVAL)),
            b"." | b".." => Err(Errno::ACCESS),
            _ if bytes.contains(&0) => Err(decided(Errno::INVAL)),
            _ => Ok(Name::from(OsStr::from_bytes(bytes))),
        };
        match record.strip_prefix(b"/") {
            Some(path) => {
                let parts: Vec<_> = path.split(|byte| *byte == b'/').collect();
                if parts.contains(&&b""[..]) {
                    return Err(decided(Errno::INVAL));
                }
                let names = parts.into_iter().map(name);
                Ok(Self::Path(names.collect::<Result<_>>()?))
            }
            None if record.contains(&b'/') => Err(decided(Errno::INVAL)),
            None => Ok(Self::Name(name(record)?)),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Name(name) => name.as_bytes().to_vec(),
            Self::Path(path) => path
                .iter()
                .flat_map(|name| [b"/", name.as_bytes()].concat())
                .collect(),
        }
    }

    pub(crate) fn is_path(&self) -> bool {
        matches!(self, Self::Path(_))
    }

    /// Writes it to an object of the upper layer.
    ///
    /// # Errors
    /// `NAMETOOLONG` if it is longer than the kernel would write, and those of setxattr(2).
    pub(crate) fn write(&self, at: At<'_>, namespace: Namespace) -> Result<()> {
        let record = self.to_bytes();
        if record.len() > LONGEST {
            return Err(Errno::NAMETOOLONG);
        }
        let name = namespace.name(Record::Redirect);
        with_permission(at, || xattr::set(at, name, &record, XattrFlags::empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_read_and_written() {
        for record in ["a", "/a", "/a/b c/d", "a b"] {
            let redirect = Redirect::parse(record.as_bytes()).unwrap();
            assert_eq!(redirect.to_bytes(), record.as_bytes());
            assert_eq!(redirect.is_path(), record.starts_with('/'));
        }
    }

    #[test]
    fn what_leads_out_or_nowhere_is_no_redirect() {
        for record in ["", "/", "a/b", "../a", "/a/", "//a", "/a//..", "a\0b"] {
            let parsed = Redirect::parse(record.as_bytes());
            assert_eq!(parsed, Err(Errno::INVAL), "{record:?}");
        }
        for record in [".", "..", "/../a", "/a/.."] {
            let parsed = Redirect::parse(record.as_bytes());
            assert_eq!(parsed, Err(Errno::ACCESS), "{record:?}");
        }
    }
}

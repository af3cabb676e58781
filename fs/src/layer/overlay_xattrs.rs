//! The xattrs of an overlay on an object in a layer.
//!
//! Nearly every object has no attributes at all, so that one listxattr(2) usually says it all. A
//! record counts in the namespace of the mount. Only `opaque` is taken from any writer, where a
//! layer is known to hold nothing else than what overlays wrote: it can hide but not uncover.

use std::ffi::CString;

use plyfs_format::names::{Namespace, OPAQUE_NAMES, Record};
use plyfs_format::whiteout;
use plyfs_sys::xattr::{self, At};

use crate::config::XattrTrust;
use crate::error::{Errno, Result, decided};
use crate::layer::redirect::Redirect;

/// The shortest record of a metacopy that says something of its data, in bytes
/// (`OVL_METACOPY_MIN_SIZE` of the kernel).
const SHORTEST_DIGEST: usize = 4;

/// The marks of a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct DirXattrs {
    /// It hides those of its name below.
    pub(crate) opaque: bool,
    /// Empty regular files in it may be whiteouts by attribute.
    pub(crate) whiteouts: bool,
    /// What is in it may have an origin, or be a metacopy.
    pub(crate) impure: bool,
    /// Where those below it are, if not under its name; an error if that cannot be told.
    pub(crate) redirect: Option<Result<Redirect>>,
}

/// The marks of a file that is no directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileXattrs {
    /// Its data is in a layer below.
    pub(crate) metacopy: bool,
    /// Where its data is, if not under its name; an error if that cannot be told.
    pub(crate) redirect: Option<Result<Redirect>>,
    /// The handle of the lower file it was copied from.
    pub(crate) origin: Option<Vec<u8>>,
}

impl DirXattrs {
    /// Reads the marks of a directory.
    ///
    /// # Errors
    /// Those of listxattr(2) and getxattr(2).
    pub(crate) fn read(at: At<'_>, namespace: Namespace, which: XattrTrust) -> Result<Self> {
        let mut xattrs = Self::default();
        if which == XattrTrust::None {
            return Ok(xattrs);
        }
        let names = xattr::list(at)?;
        if names.is_empty() {
            return Ok(xattrs);
        }
        for name in OPAQUE_NAMES {
            let counts = which == XattrTrust::Any || name == namespace.opaque();
            if !counts || !has(&names, name.as_bytes()) {
                continue;
            }
            let name = CString::new(name).map_err(|_| decided(Errno::INVAL))?;
            let value = xattr::get_all(at, &name)?.unwrap_or_default();
            xattrs.opaque |= whiteout::is_opaque_value(&value);
            xattrs.whiteouts |= whiteout::may_hold_attribute_whiteouts(&value);
        }
        let record = |record| value(at, &names, namespace, record);
        xattrs.impure = record(Record::Impure)?.is_some_and(|value| value == b"y");
        let redirect = record(Record::Redirect)?;
        xattrs.redirect = redirect.map(|record| Redirect::parse(&record));
        Ok(xattrs)
    }
}

impl FileXattrs {
    /// Reads the marks of a file that is no directory.
    ///
    /// # Errors
    /// `IO` for a metacopy whose record cannot be one; those of listxattr(2) and getxattr(2).
    pub(crate) fn read(at: At<'_>, namespace: Namespace) -> Result<Self> {
        let names = xattr::list(at)?;
        if names.is_empty() {
            return Ok(Self::default());
        }
        let record = |record| value(at, &names, namespace, record);
        let redirect = record(Record::Redirect)?;
        Ok(Self {
            metacopy: match record(Record::Metacopy)? {
                // Neither empty nor with a digest.
                Some(value) if (1..SHORTEST_DIGEST).contains(&value.len()) => {
                    return Err(decided(Errno::IO));
                }
                metacopy => metacopy.is_some(),
            },
            redirect: redirect.map(|record| Redirect::parse(&record)),
            origin: record(Record::Origin)?,
        })
    }
}

fn has(names: &[u8], wanted: &[u8]) -> bool {
    names.split(|byte| *byte == 0).any(|name| name == wanted)
}

fn value(
    at: At<'_>,
    names: &[u8],
    namespace: Namespace,
    record: Record,
) -> Result<Option<Vec<u8>>> {
    let name = namespace.name(record);
    if has(names, name.to_bytes()) {
        xattr::get_all(at, name)
    } else {
        Ok(None)
    }
}

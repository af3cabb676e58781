//! The extended attributes that a copy-up takes along.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use plyfs_sys::xattr::{self, At};
use rustix::fs::XattrFlags;

use crate::disk::attribute_names::ACL_PREFIX;
use crate::error::{Errno, Result, decided};
use crate::layer::xattr_names::Naming;
use crate::ops::copy_source::Source;

/// Copies the extended attributes that belong to the file and not to an overlay. `true` if there are any.
pub(super) fn copy_xattrs(source: &Source, to: At<'_>, naming: Naming) -> Result<bool> {
    let from = At::Fd(source.fd.as_fd());
    let mut any = false;
    let names = xattr::list(from)?;
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let new_name = source.naming.shown(name);
        let Some(new_name) = new_name.and_then(|shown| naming.stored(&shown)) else {
            continue;
        };
        let name = CString::new(name).map_err(|_| decided(Errno::INVAL))?;
        let Some(value) = xattr::get_all(from, &name)? else {
            continue;
        };
        match xattr::set(to, &new_name, &value, XattrFlags::empty()) {
            Ok(()) => any = true,
            Err(error) if may_be_left(&new_name, error) => {
                log::debug!("copy-up leaves {}: {error}", new_name.to_string_lossy());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

/// Whether a copy is complete without this attribute: the file system below does not have such
/// attributes, or this process may not set them and could not make use of them either.
///
/// ACLs say who may read a file and must not be lost.
fn may_be_left(name: &CStr, error: Errno) -> bool {
    let name = name.to_bytes();
    match error {
        Errno::OPNOTSUPP => !name.starts_with(ACL_PREFIX),
        Errno::PERM => name.starts_with(b"security.") || name.starts_with(b"trusted."),
        _ => false,
    }
}

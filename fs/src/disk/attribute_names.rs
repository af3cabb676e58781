//! Names of extended attributes that the kernel gives a meaning (xattr(7), acl(5)).

use std::ffi::CStr;

/// The capabilities of an executable, which a write takes from it.
pub(crate) const CAPABILITY: &CStr = c"security.capability";
/// How the names of both ACLs begin.
pub(crate) const ACL_PREFIX: &[u8] = b"system.posix_acl_";
/// The ACL that the mode is a part of.
pub(crate) const ACCESS_ACL: &CStr = c"system.posix_acl_access";
/// The ACL that new files of a directory get.
pub(crate) const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

//! The users and groups that the files of a container name.

use std::path::Path;

use super::root::Root;
use crate::error::Result;
use crate::oci::user::{Identity, identify};

/// How much of /etc/passwd and /etc/group is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// Looks up the ids of a user in the files of an image.
pub(crate) fn identity(root: &Root, user: &str) -> Result<Identity> {
    let read = |path: &str| -> Result<String> {
        let content = root.read(Path::new(path), LIMIT)?.unwrap_or_default();
        // The names of people may be in any encoding.
        Ok(String::from_utf8_lossy(&content).into_owned())
    };
    identify(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

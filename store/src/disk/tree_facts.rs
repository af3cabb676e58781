//! What counts of a file in a tree, and how it goes into the digest.

use crate::values::{Digest, Hasher};

/// What counts of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(super) kind: u32,
    pub(super) mode: u32,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mtime: (i64, i64),
    /// Of a device.
    pub(super) device: u64,
    /// Of a symbolic link.
    pub(super) target: Vec<u8>,
    /// Size and digest of a regular file.
    pub(super) data: Option<(u64, Digest)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first name of a file that has several.
    pub(super) link: Option<Vec<u8>>,
}

impl Facts {
    pub(super) fn hash(&self, path: &[u8], hasher: &mut Hasher) {
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(path);
        let (uid, gid) = self.owner.unwrap_or_default();
        for number in [self.kind, self.mode, uid, gid] {
            field(&number.to_le_bytes());
        }
        field(&self.mtime.0.to_le_bytes());
        field(&self.mtime.1.to_le_bytes());
        field(&self.device.to_le_bytes());
        field(&self.target);
        if let Some((size, digest)) = &self.data {
            field(&size.to_le_bytes());
            field(digest.hex().as_bytes());
        }
        field(self.link.as_deref().unwrap_or_default());
        field(&(self.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &self.xattrs {
            field(name);
            field(value);
        }
    }

    /// What differs first, if anything does.
    pub(super) fn differs(&self, wanted: &Self) -> Option<&'static str> {
        let checks = [
            (self.kind == wanted.kind, "is of another kind"),
            (self.data == wanted.data, "has other data"),
            (self.target == wanted.target, "has another target"),
            (self.device == wanted.device, "has another device number"),
            (self.mode == wanted.mode, "has another mode"),
            (self.owner == wanted.owner, "has another owner"),
            (self.xattrs == wanted.xattrs, "has other attributes"),
            (self.link == wanted.link, "has other hard links"),
            (self.mtime == wanted.mtime, "has another modification time"),
        ];
        checks
            .into_iter()
            .find_map(|(same, what)| (!same).then_some(what))
    }
}

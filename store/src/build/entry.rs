//! What is in a layer.

use std::collections::BTreeMap;

use plyfs_format::whiteout;

use crate::Timestamp;
use crate::tar;

/// One entry of a layer: a name, what it is, and its metadata.
///
/// Unless said otherwise it belongs to root and has mode 0644, or 0755 for a directory, 0777 for a
/// symbolic link and 0600 for a device or fifo; its time is the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    path: Vec<u8>,
    node: Node,
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Timestamp,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>),
    Link(tar::Kind, Vec<u8>),
    Other(tar::Kind),
}

impl Entry {
    fn new(path: impl AsRef<[u8]>, node: Node, mode: u32) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            node,
            uid: 0,
            gid: 0,
            mode,
            mtime: Timestamp::default(),
            xattrs: BTreeMap::new(),
        }
    }

    /// A directory; `.` is the root of the layer.
    pub fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, Node::Other(tar::Kind::Dir), 0o755)
    }

    /// A regular file.
    pub fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new(path, Node::File(content.as_ref().to_vec()), 0o644)
    }

    /// A symbolic link.
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref().to_vec();
        Self::new(path, Node::Link(tar::Kind::Symlink, target), 0o777)
    }

    /// Another name for a file that comes before it.
    pub fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref().to_vec();
        Self::new(path, Node::Link(tar::Kind::Link, target), 0o644)
    }

    /// A character device.
    pub fn char_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::new(path, Node::Other(tar::Kind::Char(major, minor)), 0o600)
    }

    /// A block device.
    pub fn block_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::new(path, Node::Other(tar::Kind::Block(major, minor)), 0o600)
    }

    /// A fifo.
    pub fn fifo(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, Node::Other(tar::Kind::Fifo), 0o600)
    }

    /// Removes what the layers below have at this path.
    pub fn whiteout(path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let name = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |at| at + 1);
        let (dir, name) = path.split_at(name);
        Self::file([dir, whiteout::PREFIX, name].concat(), b"")
    }

    /// Hides what the layers below have in this directory.
    pub fn opaque(dir: impl AsRef<[u8]>) -> Self {
        Self::file([dir.as_ref(), b"/", whiteout::OPAQUE].concat(), b"")
    }

    /// Sets user and group.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Sets the permission bits with set-uid, set-gid and sticky.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the modification time.
    pub fn mtime(mut self, mtime: Timestamp) -> Self {
        self.mtime = mtime;
        self
    }

    /// Sets an extended attribute.
    pub fn xattr(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = (name.as_ref().to_vec(), value.as_ref().to_vec());
        self.xattrs.insert(name, value);
        self
    }

    /// The entry as archives have it, and its data.
    pub(super) fn parts(&self) -> (tar::Entry, &[u8]) {
        let (kind, link, data) = match &self.node {
            Node::File(data) => (tar::Kind::File, Vec::new(), &data[..]),
            Node::Link(kind, target) => (*kind, target.clone(), &[][..]),
            Node::Other(kind) => (*kind, Vec::new(), &[][..]),
        };
        let mut path = self.path.clone();
        if kind == tar::Kind::Dir && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let entry = tar::Entry {
            path,
            kind,
            link,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            size: data.len() as u64,
            sparse: false,
            xattrs: self.xattrs.clone().into_iter().collect(),
        };
        (entry, data)
    }
}

/// A layer: entries in the order of its archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    pub(super) entries: Vec<Entry>,
}

impl Layer {
    /// A layer of these entries.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
        }
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_have_their_names() {
        let name = |entry: &Entry| String::from_utf8(entry.parts().0.path).unwrap();
        assert_eq!(name(&Entry::whiteout("a/b/c")), "a/b/.wh.c");
        assert_eq!(name(&Entry::whiteout("c")), ".wh.c");
        assert_eq!(name(&Entry::opaque("a/b")), "a/b/.wh..wh..opq");
        assert_eq!(name(&Entry::dir("a")), "a/");
    }
}

//! One entry of an archive.

use crate::values::Timestamp;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    /// Another name for a file that came before.
    Link,
    /// Major and minor number.
    Char(u32, u32),
    /// Major and minor number.
    Block(u32, u32),
    Fifo,
}

/// The metadata of an entry; its data is still in the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as the archive has it: nothing is known of it but that it holds no NUL.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// What a link leads to; empty for everything else.
    pub(crate) link: Vec<u8>,
    /// Permission bits with set-uid, set-gid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    /// How long the file is, holes included; zero for everything but files.
    pub(crate) size: u64,
    /// Whether the file has holes, so that its data comes with gaps.
    pub(crate) sparse: bool,
    /// Extended attributes: names are not empty and hold no NUL.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// A file without owner and time, so that the same data makes the same archive.
    pub(crate) fn anonymous(name: &str, size: u64) -> Self {
        Self {
            path: name.as_bytes().to_vec(),
            kind: Kind::File,
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            size,
            sparse: false,
            xattrs: Vec::new(),
        }
    }
}

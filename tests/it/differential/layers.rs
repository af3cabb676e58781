//! What is in the layers before a program starts, and putting it there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::act::pattern;
use super::text::{Bytes, Octal, Text};

/// A file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of a lower layer, 0 being the topmost; `None` is the upper.
    pub layer: Option<u8>,
    pub path: Bytes,
    pub what: What,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub xattrs: Vec<(Bytes, Bytes)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Dir,
    /// A directory that hides those below.
    Opaque,
    File {
        size: u64,
        seed: u64,
    },
    /// Data at the start and in the last page, nothing between.
    Sparse {
        size: u64,
        seed: u64,
    },
    Symlink(Bytes),
    /// Another name of an entry before.
    Hard(Bytes),
    Fifo,
    Socket,
    Char(u32, u32),
    Block(u32, u32),
    Whiteout,
    /// A directory on which another file system is mounted. It counts its inodes from the start.
    Mount,
    /// What the layer has at this other path is mounted on what is here.
    Bind(Bytes),
}

impl Text for What {
    fn show(&self) -> String {
        match self {
            Self::Dir => "dir".to_owned(),
            Self::Opaque => "opaque".to_owned(),
            Self::File { size, seed } => format!("file,{size},{seed}"),
            Self::Sparse { size, seed } => format!("sparse,{size},{seed}"),
            Self::Symlink(target) => format!("symlink,{}", target.show()),
            Self::Hard(path) => format!("hard,{}", path.show()),
            Self::Fifo => "fifo".to_owned(),
            Self::Socket => "socket".to_owned(),
            Self::Char(major, minor) => format!("char,{major},{minor}"),
            Self::Block(major, minor) => format!("block,{major},{minor}"),
            Self::Whiteout => "whiteout".to_owned(),
            Self::Mount => "mount".to_owned(),
            Self::Bind(path) => format!("bind,{}", path.show()),
        }
    }
    fn read(word: &str) -> Option<Self> {
        let (kind, rest) = word.split_once(',').unwrap_or((word, ""));
        let two = || {
            let (one, two) = rest.split_once(',')?;
            Some((one.parse::<u64>().ok()?, two.parse::<u64>().ok()?))
        };
        let device = || {
            let (major, minor) = two()?;
            Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
        };
        Some(match kind {
            "dir" => Self::Dir,
            "opaque" => Self::Opaque,
            "file" => two().map(|(size, seed)| Self::File { size, seed })?,
            "sparse" => two().map(|(size, seed)| Self::Sparse { size, seed })?,
            "symlink" => Self::Symlink(Bytes::read(rest)?),
            "hard" => Self::Hard(Bytes::read(rest)?),
            "fifo" => Self::Fifo,
            "socket" => Self::Socket,
            "char" => device().map(|(major, minor)| Self::Char(major, minor))?,
            "block" => device().map(|(major, minor)| Self::Block(major, minor))?,
            "whiteout" => Self::Whiteout,
            "mount" => Self::Mount,
            "bind" => Self::Bind(Bytes::read(rest)?),
            _ => return None,
        })
    }
}

impl Entry {
    pub fn is_dir(&self) -> bool {
        matches!(self.what, What::Dir | What::Opaque | What::Mount)
    }

    /// `lower0 d/f file,5,1 644 0:0 user.a=value`.
    pub fn show(&self) -> String {
        let layer = match self.layer {
            Some(number) => format!("lower{number}"),
            None => "upper".to_owned(),
        };
        let mut line = format!(
            "{layer} {} {} {} {}:{}",
            self.path.show(),
            self.what.show(),
            Octal(self.mode).show(),
            self.uid,
            self.gid
        );
        for (name, value) in &self.xattrs {
            line.push_str(&format!(" {}={}", name.show(), value.show()));
        }
        line
    }

    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let layer = match words.next()? {
            "upper" => None,
            lower => Some(lower.strip_prefix("lower")?.parse().ok()?),
        };
        let (path, what) = (Bytes::read(words.next()?)?, What::read(words.next()?)?);
        let mode = Octal::read(words.next()?)?.0;
        let (uid, gid) = words.next()?.split_once(':')?;
        let xattr = |word: &str| {
            let (name, value) = word.split_once('=')?;
            Some((Bytes::read(name)?, Bytes::read(value)?))
        };
        Some(Self {
            layer,
            path,
            what,
            mode,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            xattrs: words.map(xattr).collect::<Option<_>>()?,
        })
    }
}

/// The time that every file of a layer was changed at: long ago.
pub const LAYER_TIME: i64 = 1_000_000_000;

/// Makes the files of one layer, and returns what it has mounted. An entry that cannot be made is left out;
/// it fails for both sides alike.
pub fn build(root: &Path, layer: Option<u8>, entries: &[Entry], opaque: &str) -> Vec<PathBuf> {
    let own = || entries.iter().filter(|entry| entry.layer == layer);
    let mut mounted = Vec::new();
    for entry in own() {
        match make(root, entry, opaque) {
            Ok(()) if entry.what == What::Mount => mounted.push(place(root, &entry.path)),
            Ok(()) => {}
            Err(error) => assert_ne!(error, Errno::NOSPC, "no space for layers"),
        }
    }
    // Last, since making what is in a directory changes its time; the deepest first.
    let mut paths: Vec<_> = own().map(|entry| place(root, &entry.path)).collect();
    paths.reverse();
    paths.push(root.to_owned());
    for path in paths {
        set_times(&path);
    }
    for entry in own() {
        if let What::Bind(source) = &entry.what {
            let target = place(root, &entry.path);
            if rustix::mount::mount_bind(place(root, source), &target).is_ok() {
                mounted.push(target);
            }
        }
    }
    mounted
}

/// Gives a file the time of layers. What was left out is not there.
fn set_times(path: &Path) {
    let time = Timespec {
        tv_sec: LAYER_TIME,
        tv_nsec: 7,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).ok();
}

fn place(root: &Path, path: &Bytes) -> std::path::PathBuf {
    match path.0.as_slice() {
        b"/" => root.to_owned(),
        below => root.join(std::ffi::OsStr::from_bytes(below)),
    }
}

fn make(root: &Path, entry: &Entry, opaque: &str) -> Result<(), Errno> {
    let path = &place(root, &entry.path);
    let mode = Mode::from_raw_mode(entry.mode);
    let node =
        |kind, major, minor| rustix::fs::mknodat(CWD, path, kind, mode, makedev(major, minor));
    match &entry.what {
        What::Dir | What::Opaque if path == root => {}
        What::Dir | What::Opaque => rustix::fs::mkdirat(CWD, path, mode)?,
        What::File { size, seed } => fill(path, &[(0, *size)], *seed)?,
        What::Sparse { size, seed } => {
            let tail = size.saturating_sub(10);
            fill(path, &[(0, 100.min(*size)), (tail, size - tail)], *seed)?;
        }
        What::Symlink(target) => {
            rustix::fs::symlinkat(std::ffi::OsStr::from_bytes(&target.0), CWD, path)?;
        }
        What::Hard(old) => {
            return rustix::fs::linkat(CWD, place(root, old), CWD, path, AtFlags::empty());
        }
        What::Fifo => node(FileType::Fifo, 0, 0)?,
        What::Socket => node(FileType::Socket, 0, 0)?,
        What::Char(major, minor) => node(FileType::CharacterDevice, *major, *minor)?,
        What::Block(major, minor) => node(FileType::BlockDevice, *major, *minor)?,
        What::Whiteout => return node(FileType::CharacterDevice, 0, 0),
        What::Bind(_) => return Ok(()),
        What::Mount => {
            rustix::fs::mkdirat(CWD, path, mode)?;
            set_times(path);
            rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), None)?;
        }
    }
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(entry.what, What::Symlink(_)) {
        rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?;
    }
    if entry.what == What::Opaque {
        rustix::fs::lsetxattr(path, opaque, b"y", XattrFlags::empty())?;
    }
    for (name, value) in &entry.xattrs {
        let set = rustix::fs::lsetxattr(path, &*name.0, &value.0, XattrFlags::empty());
        if set == Err(Errno::PERM) && name.0 == b"security.capability" {
            super::outside::set_capability(path, &value.0)?;
        } else {
            set?;
        }
    }
    Ok(())
}

fn fill(path: &Path, parts: &[(u64, u64)], seed: u64) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
    for (offset, length) in parts {
        let data = pattern(seed, *length as usize);
        let mut written = 0;
        while written < data.len() {
            written += rustix::io::pwrite(&file, &data[written..], offset + written as u64)?;
        }
    }
    Ok(())
}

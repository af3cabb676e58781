//! The walk through an unpacked layer that gathers what counts of each file.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::tree::Tree;
use super::tree_facts::Facts;
use crate::error::{Context, Error, Result};
use crate::values::{Digest, Hasher, LayerRecord, Ownership, limits};

/// How many bytes of a file are read at a time. The digest of a file depends on it.
pub(super) const BUFFER: usize = 256 << 10;

/// Told how many more bytes were read; says whether to go on.
pub(crate) type Watch<'a> = dyn Fn(u64) -> bool + Sync + 'a;

pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], Facts);

/// Visits the root and everything below it, names sorted, a directory before what is in it.
pub(super) fn walk(
    root: &Path,
    record: &LayerRecord,
    watch: &Watch<'_>,
    visit: Visit<'_>,
) -> Result<()> {
    let dir = open(rustix::fs::CWD, root.as_os_str(), OFlags::DIRECTORY).context("open", root)?;
    let mut walk = Walk {
        root,
        keeps_owners: record.ownership == Ownership::Real,
        trusted: record.trusted != Some(false),
        links: HashMap::new(),
        watch,
        visit,
        buffer: vec![0; BUFFER],
    };
    walk.all(&mut Tree::new(dir))
}

/// A directory that is being visited.
pub(super) struct Level {
    /// How much of the current path is its own.
    pub(super) path: usize,
    pub(super) names: std::vec::IntoIter<CString>,
}

pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) keeps_owners: bool,
    pub(super) trusted: bool,
    /// The first names of files with several.
    pub(super) links: HashMap<(u64, u64), Vec<u8>>,
    pub(super) watch: &'a Watch<'a>,
    pub(super) visit: Visit<'a>,
    pub(super) buffer: Vec<u8>,
}

impl Walk<'_> {
    /// Goes through the tree with a stack of names, so that depth costs neither stack nor descriptors.
    pub(super) fn all(&mut self, tree: &mut Tree) -> Result<()> {
        let mut path = Vec::new();
        let mut dir = tree.root();
        let mut levels = vec![self.enter(&dir, &path)?];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path);
            let Some(name) = level.names.next() else {
                levels.pop();
                if let Some(parent) = levels.last() {
                    path.truncate(parent.path);
                    dir = self.at("open", &path, reopen(tree, &path))?;
                }
                continue;
            };
            if !(self.watch)(0) {
                return Err(Error::Interrupted);
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name.to_bytes());
            let stat = rustix::fs::statat(&*dir, &name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = self.at("examine", &path, stat)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.entry(&dir, &name, &path, &stat)?;
            } else if path.len() > limits::PATH_BYTES {
                return self.at("open", &path, Err(Errno::NAMETOOLONG));
            } else {
                let inner = open(dir.as_fd(), &*name, OFlags::DIRECTORY);
                let inner = Rc::new(self.at("open", &path, inner)?);
                tree.hold(&path, &inner);
                levels.push(self.enter(&inner, &path)?);
                dir = inner;
            }
        }
        Ok(())
    }

    /// Visits a directory itself, and lists it.
    pub(super) fn enter(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<Level> {
        let stat = rustix::fs::fstat(dir);
        let stat = self.at("examine", path, stat)?;
        let mut facts = self.facts(&stat);
        let xattrs = self.xattrs_of_open(dir.as_fd());
        facts.xattrs = self.at("read the attributes of", path, xattrs)?;
        (self.visit)(path, facts);
        let names = self.at("list", path, names_in(dir))?;
        Ok(Level {
            path: path.len(),
            names: names.into_iter(),
        })
    }

    pub(super) fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut facts = self.facts(stat);
        let first = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        if let Some(first) = first.and_then(|key| self.links.get(&key)) {
            facts.link = Some(first.clone());
            (self.visit)(path, facts);
            return Ok(());
        }
        if let Some(key) = first {
            self.links.insert(key, path.to_vec());
        }
        match kind {
            FileType::RegularFile => {
                let file = open(dir.as_fd(), name, OFlags::NONBLOCK);
                let file = self.at("open", path, file)?;
                let xattrs = self.xattrs_of_open(file.as_fd());
                facts.xattrs = self.at("read the attributes of", path, xattrs)?;
                facts.data = Some(self.data(&file, stat, path)?);
            }
            _ => {
                if kind == FileType::Symlink {
                    let target = rustix::fs::readlinkat(dir, name, Vec::new());
                    facts.target = self.at("read", path, target)?.into_bytes();
                }
                let xattrs = self.xattrs_by_name(dir, name);
                facts.xattrs = self.at("read the attributes of", path, xattrs)?;
            }
        }
        (self.visit)(path, facts);
        Ok(())
    }

    pub(super) fn facts(&self, stat: &Stat) -> Facts {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        // Nothing shows the time of a whiteout, and unpacking does not set it.
        let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        Facts {
            kind: stat.st_mode & KIND,
            mode: stat.st_mode & 0o7777,
            owner: self.keeps_owners.then_some((stat.st_uid, stat.st_gid)),
            mtime: if is_whiteout {
                (0, 0)
            } else {
                (stat.st_mtime, stat.st_mtime_nsec as i64)
            },
            device: if is_device { stat.st_rdev } else { 0 },
            target: Vec::new(),
            data: None,
            xattrs: Vec::new(),
            link: None,
        }
    }

    /// Size and digest of a file. Blocks of zeros do not count, so that holes need not be read: an archive may make
    /// a file of exabytes with nothing in it.
    pub(super) fn data(
        &mut self,
        file: &OwnedFd,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(u64, Digest)> {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let mut hasher = Hasher::new();
        let mut position = 0;
        while position < size {
            // A file of one block is read, whatever it is.
            if size > BUFFER as u64 {
                let next = next_data(file, position);
                let Some(next) = self.at("read", path, next)? else {
                    break;
                };
                position = next;
            }
            // Not beyond the size, which would take one more call for each file to learn that there is no more.
            let length = usize::try_from(size - position).map_or(BUFFER, |rest| rest.min(BUFFER));
            let count = self.block(file, position, length, path)?;
            let block = self.buffer.get(..count).unwrap_or_default();
            if block.iter().any(|byte| *byte != 0) {
                hasher.update(&position.to_le_bytes());
                hasher.update(block);
            }
            if !(self.watch)(count as u64) {
                return Err(Error::Interrupted);
            }
            position += BUFFER as u64;
        }
        Ok((size, hasher.finish()))
    }

    /// Reads a block of a length as far as the file has it.
    pub(super) fn block(
        &mut self,
        file: &OwnedFd,
        position: u64,
        length: usize,
        path: &[u8],
    ) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = self
            .buffer
            .get_mut(done..length)
            .filter(|rest| !rest.is_empty())
        {
            let at = position + done as u64;
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *rest, at));
            match self.at("read", path, read)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    pub(super) fn xattrs_of_open(
        &self,
        fd: BorrowedFd<'_>,
    ) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.xattrs(
            &|buffer| rustix::fs::flistxattr(fd, buffer),
            &|name, buffer| rustix::fs::fgetxattr(fd, name, buffer),
        )
    }

    /// Of what cannot be opened: a link, a device, a fifo.
    pub(super) fn xattrs_by_name(
        &self,
        dir: &OwnedFd,
        name: &CStr,
    ) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend(name.to_bytes());
        self.xattrs(
            &|buffer| rustix::fs::llistxattr(&path[..], buffer),
            &|name, buffer| rustix::fs::lgetxattr(&path[..], name, buffer),
        )
    }

    /// The attributes that count, sorted.
    pub(super) fn xattrs(
        &self,
        list: &dyn Fn(&mut [u8]) -> rustix::io::Result<usize>,
        get: &dyn Fn(&CStr, &mut [u8]) -> rustix::io::Result<usize>,
    ) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let names = match grown(list) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        };
        let mut found = Vec::new();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| self.counts(name))
        {
            let c_name = CString::new(name).map_err(|_| Errno::INVAL)?;
            match grown(&|buffer| get(&c_name, buffer)) {
                Ok(value) => found.push((name.to_vec(), value)),
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
        found.sort();
        Ok(found)
    }

    pub(super) fn counts(&self, name: &[u8]) -> bool {
        let user = name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
        user || name == b"security.capability" || (self.trusted && name.starts_with(b"trusted."))
    }

    pub(super) fn at<T>(
        &self,
        action: &'static str,
        path: &[u8],
        result: rustix::io::Result<T>,
    ) -> Result<T> {
        use std::os::unix::ffi::OsStrExt;
        result.map_err(|errno| Error::Io {
            action,
            path: self.root.join(std::ffi::OsStr::from_bytes(path)),
            errno,
        })
    }
}

/// The bits of a mode that say what kind of file it is (inode(7)).
pub(super) const KIND: u32 = 0o170_000;

/// The first block from a position on that has data; none if only a hole follows (lseek(2)).
pub(super) fn next_data(file: &OwnedFd, position: u64) -> rustix::io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(data) => Ok(Some(position.max(data - data % BUFFER as u64))),
        Err(Errno::NXIO) => Ok(None),
        // This file system knows no holes.
        Err(Errno::INVAL) => Ok(Some(position)),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory that was visited before; step by step where a filter forbids openat2(2).
pub(super) fn reopen(tree: &mut Tree, path: &[u8]) -> rustix::io::Result<Rc<OwnedFd>> {
    match tree.open(path) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut dir = tree.root();
            for name in path.split(|byte| *byte == b'/') {
                dir = Rc::new(Tree::step(&dir, name)?);
            }
            Ok(dir)
        }
        opened => opened,
    }
}

/// Opens something for reading, which does not set its access time.
pub(super) fn open(
    dir: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    more: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // For the owner only (open(2)).
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

pub(super) fn names_in(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What a call for attributes returns, with as large a buffer as it takes.
pub(super) fn grown(
    call: &dyn Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // 64 KiB is the most that the kernel gives (xattr(7)).
            Err(Errno::RANGE) if buffer.len() < 128 << 10 => buffer.resize(buffer.len() * 8, 0),
            Err(errno) => return Err(errno),
        }
    }
}

//! The index: hard links of a lower file that stay one file.
//!
//! A copy-up moves one name of a file to the upper layer; its other names would go on to show the
//! lower file. So the copy of a file with several names gets one more, in the directory `index`
//! beside the work directory: the handle of the lower file, in hexadecimal. A lookup of another
//! of its lower names finds the copy there. Form and records are those of the kernel's overlay
//! (`index=on` in `Documentation/filesystems/overlayfs.rst`).
//!
//! How many names the file has on the mount is not what the copy has on disk. The difference is kept
//! in the record `nlink`, as `U+1` or `U-1`: it changes only when a name moves between what is lower
//! and what is upper. It is written so that a crash in between leaves a count that is too high, never
//! one too low, which would let go of a file that still has a name.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use plyfs_format::handle::{FileHandle, index_name};
use plyfs_format::names::{Namespace, Record};
use plyfs_sys::handle;
use plyfs_sys::xattr::{self, At};
use rustix::fs::{AtFlags, Statx, XattrFlags};

use crate::disk::calls::{stat_name, stat_of_absent};
use crate::disk::owner_mode::with_permission;
use crate::error::{Errno, Result};
use crate::layer::whiteout::is_whiteout;
use crate::layer::{origin, work};
use crate::types::Name;

/// Why there is no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoIndex {
    /// The upper layer was made on top of other lower layers.
    OtherLayers,
    /// A file system lacks something.
    Lacks(&'static str, Errno),
}

/// The opened index.
#[derive(Debug)]
pub(crate) struct Index {
    dir: Arc<OwnedFd>,
    namespace: Namespace,
}

/// What is in the index under a name.
pub(crate) struct Indexed {
    pub(crate) name: Name,
    pub(crate) stat: Statx,
}

impl Index {
    /// Makes and opens the index, and makes sure that it belongs to these layers.
    ///
    /// `root` is the root of the upper layer, `workdir` the directory that holds the index, and `lower` the
    /// handle of the root of the topmost lower layer.
    pub(crate) fn open(
        root: BorrowedFd<'_>,
        workdir: BorrowedFd<'_>,
        namespace: Namespace,
        lower: Option<Vec<u8>>,
    ) -> std::result::Result<Self, NoIndex> {
        let lacks = |what| move |errno| NoIndex::Lacks(what, errno);
        let lower = lower.ok_or(NoIndex::Lacks("file handles", Errno::OPNOTSUPP))?;
        let dir = work::make_dir(workdir, "index").map_err(lacks("a directory"))?;
        let handle = handle::of(At::Fd(root)).map_err(lacks("file handles"))?;
        let itself = FileHandle {
            upper: true,
            kind: u8::try_from(handle.kind).unwrap_or(u8::MAX),
            uuid: origin::uuid(root),
            bytes: handle.bytes,
        };
        let itself = itself.encode();
        let itself = itself.ok_or(NoIndex::Lacks("short file handles", Errno::OVERFLOW))?;
        for (fd, record, value) in [
            (root, Record::Origin, &lower),
            (dir.as_fd(), Record::Upper, &itself),
        ] {
            let name = namespace.name(record);
            match xattr::get_all(At::Fd(fd), name).map_err(lacks("attributes"))? {
                Some(known) if known == *value => {}
                Some(_) => return Err(NoIndex::OtherLayers),
                None => xattr::set(At::Fd(fd), name, value, XattrFlags::empty())
                    .map_err(lacks("attributes"))?,
            }
        }
        let index = Self {
            dir: Arc::new(dir),
            namespace,
        };
        index.sweep().map_err(lacks("a readable index"))?;
        Ok(index)
    }

    pub(crate) fn dir(&self) -> &Arc<OwnedFd> {
        &self.dir
    }

    /// Removes files that have no other name left: their last one went, and then the machine.
    fn sweep(&self) -> Result<()> {
        let mut gone = Vec::new();
        crate::disk::dirents::for_each_entry(self.dir.as_fd(), |name, _, _| {
            let stat = stat_name(self.dir.as_fd(), name.to_bytes())?;
            let name = Name::from(OsStr::from_bytes(name.to_bytes()));
            // The kernel's overlay may work in here.
            let is_temporary = name.as_bytes().starts_with(b"#");
            let may_be_last = || stat.stx_nlink == 1 && !is_whiteout(&stat);
            if is_temporary || (may_be_last() && self.links(&name, &stat, None)? == 0) {
                gone.push(name);
            }
            Ok(())
        })?;
        let remove = |name: &Name| crate::disk::remove_tree::remove(self.dir.as_fd(), name);
        gone.iter().try_for_each(remove)
    }

    /// The copy of the lower file with this record, if there is one.
    pub(crate) fn find(&self, record: &[u8]) -> Result<Option<Indexed>> {
        let name = index_name(record);
        let stat = stat_of_absent(stat_name(self.dir.as_fd(), name.as_bytes()))?;
        // Of a file that is gone, the kernel keeps a whiteout for NFS.
        let stat = stat.filter(|stat| !is_whiteout(stat));
        Ok(stat.map(|stat| Indexed {
            name: Name::from(OsStr::new(&name)),
            stat,
        }))
    }

    pub(crate) fn at<'i>(&'i self, name: &'i Name) -> At<'i> {
        At::Name(self.dir.as_fd(), name.as_bytes())
    }

    /// How many names a file shows. `lower` is how many the lower file has, if that is known.
    pub(crate) fn links(&self, name: &Name, disk: &Statx, lower: Option<u32>) -> Result<u32> {
        let record = xattr::get_all(self.at(name), self.namespace.name(Record::Nlink))?;
        let parsed = record.as_deref().and_then(parse);
        let links = match (parsed, lower) {
            (Some((Base::Upper, more)), _) => i64::from(disk.stx_nlink) + more,
            (Some((Base::Lower, more)), Some(lower)) => i64::from(lower) + more,
            // All but the one in the index.
            _ => i64::from(disk.stx_nlink) - 1,
        };
        Ok(u32::try_from(links.max(0)).unwrap_or(u32::MAX))
    }

    /// Writes how many names a file shows, as a difference to what it has on disk.
    fn set_links(&self, at: At<'_>, disk: u32, links: u32) -> Result<()> {
        let record = format!("U{:+}", i64::from(links) - i64::from(disk));
        let name = self.namespace.name(Record::Nlink);
        with_permission(at, || {
            xattr::set(at, name, record.as_bytes(), XattrFlags::empty())
        })
    }

    /// Puts a copy in the index before it gets its name in the upper layer: `links` is how many the
    /// lower file has.
    pub(crate) fn insert(
        &self,
        work: BorrowedFd<'_>,
        staged: &OsStr,
        name: &Name,
        links: u32,
    ) -> Result<()> {
        // With nothing but the index; whatever stays of the rest after a crash is removed.
        self.set_links(At::Name(work, staged.as_bytes()), 1, links)?;
        rustix::fs::linkat(work, staged, &self.dir, &**name, AtFlags::empty())
    }

    /// Counts a name again that has moved from the lower to the upper layer, or is hidden in the lower
    /// one: on disk there is one more, or one less shown, than the record says.
    pub(crate) fn count_down(&self, name: &Name, record_before: u32) -> Result<()> {
        let disk = stat_name(self.dir.as_fd(), name.as_bytes())?.stx_nlink;
        self.set_links(self.at(name), disk, record_before)
    }

    pub(crate) fn remove(&self, name: &Name) -> Result<()> {
        rustix::fs::unlinkat(&self.dir, &**name, AtFlags::empty())
    }
}

/// What a count of links is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// The copy.
    Upper,
    /// The lower file.
    Lower,
}

fn parse(record: &[u8]) -> Option<(Base, i64)> {
    let (base, number) = record.split_first()?;
    let base = match base {
        b'U' => Base::Upper,
        b'L' => Base::Lower,
        _ => return None,
    };
    let number: i32 = str::from_utf8(number).ok()?.parse().ok()?;
    Some((base, number.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse(b"U+0"), Some((Base::Upper, 0)));
        assert_eq!(parse(b"U-1"), Some((Base::Upper, -1)));
        assert_eq!(parse(b"L+12"), Some((Base::Lower, 12)));
        for record in [&b""[..], b"U", b"X+1", b"U+x", b"U+99999999999"] {
            assert_eq!(parse(record), None);
        }
    }
}

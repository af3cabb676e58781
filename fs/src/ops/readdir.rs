//! Reading directories.
//!
//! A listing is also made for lookups, which no program asked for. The time of last access of the directory is left
//! alone then, and changes when a program lists it, even if the listing is in memory.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, RawDir};

use crate::Overlay;
use crate::disk::calls;
use crate::error::{Errno, Result};
use crate::inode::listing::{DOT, DOT_DOT, EntryInfo, Listed};
use crate::inode::node::Node;
use crate::types::{DirEntry, Entry, FileKind, Fill, Name, Wants};

/// In seconds. Times of last access are not older after an access.
const DAY: i64 = 24 * 60 * 60;

/// The number that is listed for what cannot be looked up. No object has it.
const LOST: u64 = u64::MAX;

/// Lists a name of which no more is known, since one damaged file is not to hide all others in its
/// directory. A lookup gets the error.
fn lost(entry: &mut DirEntry, error: Errno) {
    log::debug!(
        "{} is listed, and cannot be looked up: {error}",
        entry.name.display()
    );
    (entry.ino, entry.kind) = (LOST, FileKind::Regular);
}

impl Overlay {
    /// Calls `take` with the entries of a directory that come after `cookie` (0 for all), until
    /// there is no more room or there are no more entries.
    ///
    /// # Errors
    /// `STALE` if the id is not known, `NOTDIR`, and those of reading the layers.
    pub fn readdir(
        &self,
        id: u64,
        cookie: u64,
        mut take: impl FnMut(&DirEntry) -> Fill,
    ) -> Result<()> {
        let node = self.node(id)?;
        self.each_item(&node, cookie, |entry, known| {
            match known {
                None | Some(EntryInfo::Object(..)) => {}
                Some(EntryInfo::Unresolved) => match self.peek(&node, &entry.name) {
                    Ok((ino, kind)) => (entry.ino, entry.kind) = (ino, kind),
                    // Removed meanwhile, or a directory that is mounted in a second place.
                    Err(Errno::NOENT | Errno::STALE) => return Ok(Fill::More),
                    Err(error) => lost(entry, error),
                },
            }
            Ok(take(entry))
        })
    }

    /// As [`readdir`](Self::readdir), with every entry but `.` and `..` looked up. An entry that was
    /// taken counts as looked up and is to be forgotten like any other. One that cannot be looked up
    /// comes without what would have been found. `wants` counts for the first entries (cookie 0).
    ///
    /// # Errors
    /// As [`readdir`](Self::readdir).
    pub fn readdir_plus(
        &self,
        id: u64,
        cookie: u64,
        wants: Wants,
        mut take: impl FnMut(&DirEntry, Option<&Entry>) -> Fill,
    ) -> Result<()> {
        let node = self.node(id)?;
        // Later there might be none at all, which means that there are no more entries.
        let only_directories = wants == Wants::Directories && cookie == 0;
        self.each_item(&node, cookie, |entry, known| {
            match known {
                None => {
                    let itself = self.entry_of_dots(&node, entry.cookie)?;
                    return Ok(take(entry, Some(&itself)));
                }
                Some(EntryInfo::Object(_, kind)) if only_directories && !kind.is_dir() => {
                    return Ok(Fill::Full);
                }
                Some(_) => {}
            }
            let found = match self.lookup_in(&node, &entry.name) {
                Ok((_, found)) => found,
                // Removed meanwhile, or a directory that is mounted in a second place.
                Err(Errno::NOENT | Errno::STALE) => return Ok(Fill::More),
                Err(error) => {
                    lost(entry, error);
                    return Ok(take(entry, None));
                }
            };
            (entry.ino, entry.kind) = (found.attr.ino, found.attr.kind);
            let room = take(entry, Some(&found));
            if room == Fill::Full {
                self.forget(found.id, 1);
            }
            Ok(room)
        })
    }

    /// Calls `f` with each entry after `cookie` and what the listing knows of it; nothing for `.`
    /// and `..`. No lock is held meanwhile.
    fn each_item(
        &self,
        node: &Arc<Node>,
        mut cookie: u64,
        mut f: impl FnMut(&mut DirEntry, Option<EntryInfo>) -> Result<Fill>,
    ) -> Result<()> {
        if cookie == 0 {
            if let Err(errno) = self.note_access(node) {
                log::debug!("a directory keeps its time of last access: {errno}");
            }
            self.renew_listing(node)?;
        }
        for (dot, name) in [(DOT, "."), (DOT_DOT, "..")] {
            if cookie >= dot {
                continue;
            }
            let mut entry = DirEntry {
                ino: self.dots_node(node, dot).ino(),
                cookie: dot,
                kind: FileKind::Directory,
                name: Arc::from(OsStr::new(name)),
            };
            if f(&mut entry, None)? == Fill::Full {
                return Ok(());
            }
            cookie = dot;
        }
        loop {
            let batch = self.with_listing(node, |listing| listing.after(cookie))?;
            if batch.is_empty() {
                return match cookie {
                    DOT_DOT => self.purify_if_empty(node),
                    _ => Ok(()),
                };
            }
            for item in batch {
                let (mut entry, known) = self.entry_of(&item);
                if f(&mut entry, Some(known))? == Fill::Full {
                    return Ok(());
                }
                cookie = item.cookie;
            }
        }
    }

    /// Lets the upper directory of a node be read once, so that its time of last access changes as its
    /// file system does that, where it would by `relatime` (mount(8)).
    fn note_access(&self, node: &Arc<Node>) -> Result<()> {
        if !node.in_upper() {
            return Ok(());
        }
        let dir = self.upper_dir(node)?;
        let stat = calls::stat_fd(dir.as_fd())?;
        let [atime, mtime, ctime] = [stat.stx_atime, stat.stx_mtime, stat.stx_ctime]
            .map(|time| (time.tv_sec, time.tv_nsec));
        let is_recent = atime > mtime && atime > ctime;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs()).cast_signed();
        if is_recent && now - atime.0 < DAY {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&dir, c".", flags, Mode::empty());
        let dir: OwnedFd = self.fds.open(open)?;
        let mut buffer = [MaybeUninit::uninit(); 512];
        match RawDir::new(dir, &mut buffer).next() {
            Some(Err(errno)) => Err(errno),
            _ => Ok(()),
        }
    }

    /// The entry for an item, as far as the listing knows it.
    fn entry_of(&self, item: &Listed) -> (DirEntry, EntryInfo) {
        let mut entry = DirEntry {
            ino: 0,
            cookie: item.cookie,
            kind: FileKind::Regular,
            name: item.name.clone(),
        };
        let EntryInfo::Object(object, kind) = item.known else {
            return (entry, EntryInfo::Unresolved);
        };
        let node = self.nodes.find(object);
        match node.map(|node| node.ino()).or(object.derived()) {
            Some(ino) => {
                (entry.ino, entry.kind) = (ino, kind);
                (entry, item.known)
            }
            None => (entry, EntryInfo::Unresolved),
        }
    }

    /// The node that `.` or `..` stands for.
    fn dots_node(&self, node: &Arc<Node>, dot: u64) -> Arc<Node> {
        if dot == DOT {
            return node.clone();
        }
        let parent = node.place.read().parent.clone();
        parent.unwrap_or_else(|| node.clone())
    }

    fn entry_of_dots(&self, node: &Arc<Node>, dot: u64) -> Result<Entry> {
        let node = self.dots_node(node, dot);
        Ok(Entry {
            id: node.id,
            attr: self.attr(&node)?,
        })
    }

    /// Number and kind of a name, without keeping a node for it.
    fn peek(&self, node: &Arc<Node>, name: &Name) -> Result<(u64, FileKind)> {
        let (_, found) = self.lookup_in(node, name)?;
        self.forget(found.id, 1);
        Ok((found.attr.ino, found.attr.kind))
    }
}

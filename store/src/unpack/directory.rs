//! Directories: made when they come, finished when everything in them is there.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::fault::Result;
use super::path::{EntryPath, steps};
use super::pending::Directory;
use super::place::Place;
use super::policy::{Meta, set_record};
use super::unpacker::Unpacker;
use super::xattr::is_acl;
use crate::disk::Tree;
use crate::error::{EntryFault, LayerFault};
use crate::tar::{Entry, Kind};
use crate::values::LayerFacts;

/// What a directory is made with until it is finished.
const OPEN: Mode = Mode::RWXU;

impl Unpacker {
    /// The entry of the root, which is there already.
    pub(super) fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Dir {
            return Err(EntryFault::RootNotDirectory);
        }
        self.facts.root_entry = true;
        let root = self.tree.root();
        self.describe(b"", &root, entry)
    }

    pub(super) fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        let path = place.path.path();
        let dir = Rc::new(self.make_dir(place)?);
        // An older descriptor of the same path would be one of a directory that is gone.
        self.tree.forget(path);
        self.tree.hold(path, &dir);
        self.describe(path, &dir, entry)
    }

    /// Remembers what the entry says of a directory, and sets those attributes that nothing made
    /// in it will inherit.
    fn describe(&mut self, path: &[u8], dir: &Rc<OwnedFd>, entry: &Entry) -> Result<()> {
        self.pending.at(path).meta = Some(Meta::of(entry));
        let (acls, others): (Vec<_>, Vec<_>) =
            entry.xattrs.iter().partition(|(name, _)| is_acl(name));
        self.pending
            .set_acls(path, acls.into_iter().cloned().collect());
        self.set_xattrs(dir.as_fd(), others)
    }

    /// Makes a directory, or opens the one that is there. One that takes the place of something
    /// else hides what is below it.
    pub(super) fn make_dir(&mut self, place: &Place<'_>) -> Result<OwnedFd> {
        let failed = EntryFault::system("create it");
        let mkdir = || rustix::fs::mkdirat(place.dir(), place.name(), OPEN);
        let replaced = match mkdir() {
            Ok(()) => false,
            Err(Errno::EXIST) => {
                let stat = place.stat()?;
                let is_dir = stat.is_some_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                });
                if !is_dir {
                    let flags = AtFlags::empty();
                    rustix::fs::unlinkat(place.dir(), place.name(), flags).map_err(&failed)?;
                    mkdir().map_err(&failed)?;
                }
                !is_dir
            }
            Err(errno) => return Err(failed(errno)),
        };
        let dir = Tree::step(&place.dir, place.name()).map_err(EntryFault::system("open it"))?;
        self.pending.at(place.path.path());
        if replaced {
            self.opaque_dir(place.path.path(), dir.as_fd())?;
        }
        Ok(dir)
    }

    /// Goes to a directory component by component and makes what is missing on the way.
    pub(super) fn make_parents(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        let mut dir = self.tree.root();
        for (walked, name) in steps(path) {
            let next = match Tree::step(&dir, name) {
                Ok(next) => next,
                Err(errno) => self.make_parent(&dir, walked, errno)?,
            };
            dir = Rc::new(next);
        }
        self.tree.hold(path, &dir);
        Ok(dir)
    }

    /// Makes one directory that has no entry, where nothing is or where a whiteout is.
    fn make_parent(&mut self, dir: &Rc<OwnedFd>, path: &[u8], errno: Errno) -> Result<OwnedFd> {
        let entry_path = EntryPath::parse(path)?;
        let place = Place {
            dir: Rc::clone(dir),
            path: &entry_path,
        };
        match errno {
            Errno::NOENT => self.make_dir(&place),
            Errno::NOTDIR | Errno::LOOP => match place.stat()? {
                Some(stat) if super::whiteout::stat_is_whiteout(&stat) => self.make_dir(&place),
                stat => Err(parent_fault(path, stat.as_ref())),
            },
            errno => Err(EntryFault::system("open its parent")(errno)),
        }
    }

    /// What stands in the way of opening a directory, if it is an entry that is no directory.
    pub(super) fn walk_fault(&self, path: &[u8]) -> Option<EntryFault> {
        let mut dir = self.tree.root();
        for (walked, name) in steps(path) {
            match Tree::step(&dir, name) {
                Ok(next) => dir = Rc::new(next),
                Err(Errno::NOENT) => return None,
                Err(_) => {
                    let stat = rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
                    let is_whiteout = stat.as_ref().is_some_and(super::whiteout::stat_is_whiteout);
                    return (!is_whiteout).then(|| parent_fault(walked, stat.as_ref()));
                }
            }
        }
        None
    }

    /// Finishes the layer: gives every directory what is still missing.
    pub(super) fn finish(mut self) -> std::result::Result<LayerFacts, LayerFault> {
        self.pending.at(b"");
        let at_root = |fault| LayerFault::Entry {
            name: b".".to_vec(),
            fault,
        };
        self.remove_plinks().map_err(at_root)?;
        self.remove_useless_whiteouts().map_err(at_root)?;
        let pending = std::mem::take(&mut self.pending);
        for (path, directory) in pending.deepest_first() {
            if let Err(fault) = self.finish_directory(&path, &directory) {
                let name = if path.is_empty() { b".".to_vec() } else { path };
                return Err(LayerFault::Entry { name, fault });
            }
        }
        Ok(self.facts)
    }

    fn finish_directory(&mut self, path: &[u8], directory: &Directory) -> Result<()> {
        let dir = self
            .tree
            .open(path)
            .map_err(EntryFault::system("open it"))?;
        let fd = dir.as_fd();
        let meta = directory.meta.unwrap_or_else(Meta::implied);
        let mode = self.policy.dir_mode(meta.mode);
        // The record first: afterwards the directory may be closed to its owner.
        if let Some(record) = self.policy.record(&meta, mode, None) {
            set_record(fd, &record)?;
            self.facts.overrides += 1;
        }
        if directory.whiteouts && !path.is_empty() {
            self.mark_whiteouts(fd)?;
        }
        self.policy.chown(fd, &meta)?;
        for (name, value) in &directory.acls {
            self.set_xattrs(fd, [&(name.clone(), value.clone())])?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
            .map_err(EntryFault::system("change its mode"))?;
        rustix::fs::futimens(fd, &meta.times()).map_err(EntryFault::system("set its times"))
    }
}

/// Why something on the way to an entry is no way.
fn parent_fault(path: &[u8], stat: Option<&rustix::fs::Stat>) -> EntryFault {
    let is_link =
        stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    if is_link {
        EntryFault::ParentIsLink(path.to_vec())
    } else {
        EntryFault::ParentNotDirectory(path.to_vec())
    }
}

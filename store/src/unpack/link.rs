//! Symbolic and hard links.

use plyfs_format::override_stat::Kind as RecordKind;
use plyfs_format::whiteout::is_whiteout;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::fault::Result;
use super::path::EntryPath;
use super::place::Place;
use super::policy::{Meta, chown_fault, ids};
use super::unpacker::Unpacker;
use crate::error::EntryFault;
use crate::tar::Entry;
use crate::values::limits;

/// What the kernel says the mode of every symbolic link is.
const LINK_MODE: u32 = 0o777;

impl Unpacker {
    /// Makes a symbolic link. Where it leads does not matter: nothing here follows it.
    pub(super) fn symlink(&mut self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        match entry.link.len() {
            0 => return Err(EntryFault::EmptyTarget),
            len if len > limits::PATH_BYTES => return Err(EntryFault::NameTooLong),
            _ => {}
        }
        if self.is_override() && (entry.uid, entry.gid) != (0, 0) {
            // A link cannot carry the record.
            let mut entry = entry.clone();
            entry.mode = LINK_MODE;
            let target = entry.link.clone();
            return self.stand_in(place, &entry, RecordKind::Symlink, &target);
        }
        self.make(place, "create it", || {
            rustix::fs::symlinkat(&*entry.link, place.dir(), place.name())
        })?;
        self.finish_at(place, entry)
    }

    /// Applies owner, attributes and times to what has no descriptor, by its name, not followed.
    pub(super) fn finish_at(&mut self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        let meta = Meta::of(entry);
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if self.policy.must_chown(&meta) {
            let (uid, gid) = ids(&meta);
            let chown = rustix::fs::chownat(place.dir(), place.name(), uid, gid, nofollow);
            chown.map_err(chown_fault(&meta))?;
        }
        self.set_xattrs_at(place, &entry.xattrs)?;
        rustix::fs::utimensat(place.dir(), place.name(), &meta.times(), nofollow)
            .map_err(EntryFault::system("set its times"))
    }

    /// Makes another name for something that is in the layer already. Its metadata is that of the
    /// first name: both are one file.
    pub(super) fn hard_link(&mut self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        if entry.link.is_empty() {
            return Err(EntryFault::EmptyTarget);
        }
        let refused = |fault| EntryFault::LinkTarget(Box::new(fault));
        let mut path = EntryPath::parse(&entry.link).map_err(refused)?;
        if self.tree.open(path.parent()).is_err() {
            path = self.real_path(path).map_err(refused)?;
        }
        if path.path() == place.path.path() {
            return Err(EntryFault::LinkToItself);
        }
        if path.is_root() {
            return Err(EntryFault::LinkTargetDirectory(entry.link.clone()));
        }
        let dir = match self.tree.open(path.parent()) {
            Ok(dir) => dir,
            Err(errno) => return Err(self.bad_target(&path, entry, errno)),
        };
        let target = Place { dir, path: &path };
        let missing = || EntryFault::LinkTargetMissing(entry.link.clone());
        let stat = target.stat()?.ok_or_else(missing)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(EntryFault::LinkTargetDirectory(entry.link.clone()));
        }
        let (major, minor) = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        if is_whiteout(stat.st_mode, major, minor) {
            return Err(missing());
        }
        let linked = self.make(place, "link it", || {
            // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is a link to the link itself.
            let flags = AtFlags::empty();
            rustix::fs::linkat(
                target.dir(),
                target.name(),
                place.dir(),
                place.name(),
                flags,
            )
        });
        match linked {
            // What it replaced was the directory that the target is in.
            Err(EntryFault::System {
                errno: Errno::NOENT,
                ..
            }) => Err(missing()),
            linked => linked,
        }
    }

    /// Why the directory of a target cannot be opened.
    fn bad_target(&mut self, path: &EntryPath, entry: &Entry, errno: Errno) -> EntryFault {
        let fault = match errno {
            Errno::NOENT => None,
            _ => self.walk_fault(path.parent()),
        };
        match fault {
            Some(fault) => EntryFault::LinkTarget(Box::new(fault)),
            None => EntryFault::LinkTargetMissing(entry.link.clone()),
        }
    }
}

//! What a container changed against its image.
//!
//! The upper directory says which names were changed, and that alone is walked. Two overlays are
//! opened in this process, without a mount: one shows what the container shows, the other its image,
//! which is only asked for single names. A directory that hides the image's (it is opaque), that
//! shows another of the image's (it was renamed) or that the image does not have is new as a whole:
//! everything that the container shows in it is listed.
//!
//! # Invariants
//!
//! - Neither the upper directory nor a layer is changed.
//! - No symbolic link of the upper directory is followed: a container that runs meanwhile may put
//!   one anywhere.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use plyfs_format::names::{Namespace, Record};
use plyfs_format::whiteout;
use plyfs_fs::{Entry, Errno, Fill, Overlay};
use plyfs_store::{Container, escaped};
use plyfs_sys::xattr::{self, At};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};

use crate::containers::places;
use crate::error::{CliError, Result};
use crate::image_mount::{self, Subject};

/// The names that lead to a file from the root. In the order of these, a directory comes before
/// what is in it.
pub(crate) type Names = Vec<OsString>;

/// What became of a name of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Changed,
    Deleted,
}

/// One name that is not as in the image.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    /// What the container shows there; nothing for what was deleted.
    pub(crate) entry: Option<Entry>,
    /// A directory that shows nothing of the image's directory of the same name.
    pub(crate) hides: bool,
    /// It was deleted with the directory that it was in, whose replacement hides it.
    pub(crate) hidden: bool,
}

/// A container beside its image.
pub(crate) struct Comparison {
    pub(crate) merged: Overlay,
    image: Overlay,
    upper: OwnedFd,
    namespace: Namespace,
    changes: BTreeMap<Names, Change>,
}

/// A directory that is to be looked at.
struct Directory {
    names: Names,
    /// In what the container shows.
    merged: u64,
    /// The image's directory of the same name.
    image: Option<u64>,
    /// Whether it shows nothing of that.
    whole: bool,
}

impl Comparison {
    /// Opens a container and its image. Who has the lock of the container opens it writable, since
    /// only then its index, by which hard links of the image stay one file, is read.
    pub(crate) fn open(container: &Container, locked: bool) -> Result<Self> {
        let subject = Subject::Container(Box::new(container.clone()));
        let mut config = image_mount::overlay(&subject, !locked);
        let merged = Overlay::open(&config)?;
        if !locked {
            config.lowers.remove(0);
        }
        config.upper = None;
        let image = Overlay::open(&config)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let upper = rustix::fs::open(&container.upper, flags, Mode::empty());
        let upper = upper.map_err(|errno| cannot("open the upper directory", &[], errno))?;
        Ok(Self {
            namespace: merged.namespace(),
            merged,
            image,
            upper,
            changes: BTreeMap::new(),
        })
    }

    /// Everything that was changed, but for the root directory itself.
    pub(crate) fn changes(mut self) -> Result<(Overlay, BTreeMap<Names, Change>)> {
        let mut left = vec![Directory {
            names: Names::new(),
            merged: self.merged.root(),
            image: Some(self.image.root()),
            whole: false,
        }];
        while let Some(directory) = left.pop() {
            let found = match directory.whole {
                true => self.new_directory(&directory),
                false => self.changed_directory(&directory),
            };
            match found {
                Ok(found) => left.extend(found),
                // A container that runs has just removed it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE) if !directory.names.is_empty() => {
                }
                Err(errno) => return Err(cannot("read", &directory.names, errno)),
            }
        }
        Ok((self.merged, self.changes))
    }

    /// Looks at what is in the upper directory of one that shows the image's, too.
    fn changed_directory(&mut self, directory: &Directory) -> Result<Vec<Directory>, Errno> {
        let mut found = Vec::new();
        let upper = self.open_upper(&directory.names)?;
        for entry in Dir::read_from(&upper)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let stat = match rustix::fs::statat(&upper, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let (major, minor) = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
            if whiteout::is_whiteout(stat.st_mode, major, minor) {
                if lookup(&self.image, directory.image, name)?.is_some() {
                    self.note(directory, name, Change::deleted(false));
                }
                continue;
            }
            found.extend(self.present(directory, name)?);
        }
        Ok(found)
    }

    /// Looks at everything that is in a directory of which nothing is the image's.
    fn new_directory(&mut self, directory: &Directory) -> Result<Vec<Directory>, Errno> {
        let mut found = Vec::new();
        let names = list(&self.merged, directory.merged)?;
        for name in &names {
            found.extend(self.present(directory, name)?);
        }
        if let Some(image) = directory.image {
            let names: HashSet<OsString> = names.into_iter().collect();
            for name in list(&self.image, image)? {
                if !names.contains(&name) {
                    self.note(directory, &name, Change::deleted(true));
                }
            }
        }
        Ok(found)
    }

    /// Notes a name that the container shows. Returns it if it is a directory.
    fn present(&mut self, directory: &Directory, name: &OsStr) -> Result<Option<Directory>, Errno> {
        let Some(entry) = lookup(&self.merged, Some(directory.merged), name)? else {
            return Ok(None);
        };
        let before = lookup(&self.image, directory.image, name)?;
        let is_dir = entry.attr.kind.is_dir();
        let image = before.filter(|before| before.attr.kind.is_dir());
        let image = image.map(|image| image.id);
        let names = joined(&directory.names, name);
        let whole = is_dir && (directory.whole || image.is_none() || self.is_detached(&names)?);
        let change = Change {
            kind: match before {
                Some(_) => Kind::Changed,
                None => Kind::Added,
            },
            entry: Some(entry),
            hides: whole && !directory.whole && image.is_some(),
            hidden: false,
        };
        self.changes.insert(names.clone(), change);
        Ok(is_dir.then_some(Directory {
            names,
            merged: entry.id,
            image,
            whole,
        }))
    }

    /// Whether a directory of the upper layer shows nothing of the image's of that name.
    fn is_detached(&self, names: &[OsString]) -> Result<bool, Errno> {
        let dir = self.open_upper(names)?;
        let read = |record| xattr::get_all(At::Fd(dir.as_fd()), self.namespace.name(record));
        let opaque = read(Record::Opaque)?;
        Ok(
            opaque.is_some_and(|value| whiteout::is_opaque_value(&value))
                || read(Record::Redirect)?.is_some(),
        )
    }

    fn open_upper(&self, names: &[OsString]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path: PathBuf = match names.is_empty() {
            true => PathBuf::from("."),
            false => names.iter().collect(),
        };
        rustix::fs::openat2(&self.upper, path, flags, Mode::empty(), resolve)
    }

    fn note(&mut self, directory: &Directory, name: &OsStr, change: Change) {
        self.changes.insert(joined(&directory.names, name), change);
    }
}

impl Change {
    fn present(entry: Entry) -> Self {
        Self {
            kind: Kind::Changed,
            entry: Some(entry),
            hides: false,
            hidden: false,
        }
    }

    pub(crate) fn deleted(hidden: bool) -> Self {
        Self {
            kind: Kind::Deleted,
            entry: None,
            hides: false,
            hidden,
        }
    }
}

/// Adds the names of files that were changed under another of their names: hard links of the image,
/// which the index keeps one file. Only if some are missing is everything that the container shows
/// walked.
pub(crate) fn add_links(merged: &Overlay, changes: &mut BTreeMap<Names, Change>) -> Result {
    let mut missing: HashMap<u64, u32> = HashMap::new();
    for entry in changes.values().filter_map(|change| change.entry) {
        if !entry.attr.kind.is_dir() && entry.attr.nlink > 1 {
            let left = missing.entry(entry.attr.ino).or_insert(entry.attr.nlink);
            *left = left.saturating_sub(1);
        }
    }
    missing.retain(|_, count| *count > 0);
    let indexed = merged.shows_lower_names();
    let indexed = indexed.map_err(|errno| cannot("read the index of", &[], errno))?;
    if missing.is_empty() && !indexed {
        return Ok(());
    }
    let root = merged.root();
    let mut left = vec![(Names::new(), root)];
    while let Some((names, id)) = left.pop() {
        let listed = list(merged, id).map_err(|errno| cannot("read", &names, errno))?;
        for name in listed {
            let path = joined(&names, &name);
            if changes
                .get(&path)
                .is_some_and(|known| known.entry.is_some_and(|entry| !entry.attr.kind.is_dir()))
            {
                continue;
            }
            let entry = lookup(merged, Some(id), &name);
            let Some(entry) = entry.map_err(|errno| cannot("read", &path, errno))? else {
                continue;
            };
            if entry.attr.kind.is_dir() {
                left.push((path, entry.id));
                continue;
            }
            let is_link = entry.attr.nlink > 1 && missing.contains_key(&entry.attr.ino);
            // The name that it was changed by may be gone.
            let is_upper = merged.is_upper(entry.id);
            if is_link || is_upper.map_err(|errno| cannot("read", &path, errno))? {
                changes.insert(path.clone(), Change::present(entry));
                add_parents(merged, changes, &path)?;
            }
        }
    }
    Ok(())
}

/// Adds the directories above a name: in a layer they have entries of their own.
fn add_parents(
    merged: &Overlay,
    changes: &mut BTreeMap<Names, Change>,
    path: &[OsString],
) -> Result {
    let mut id = merged.root();
    for (depth, name) in path.iter().enumerate().take(path.len().saturating_sub(1)) {
        let names = &path[..=depth];
        let entry = merged.lookup(id, name);
        let entry = entry.map_err(|errno| cannot("read", names, errno))?;
        id = entry.id;
        changes
            .entry(names.to_vec())
            .or_insert_with(|| Change::present(entry));
    }
    Ok(())
}

/// Finds a name in a directory, if there are both.
fn lookup(overlay: &Overlay, dir: Option<u64>, name: &OsStr) -> Result<Option<Entry>, Errno> {
    let Some(dir) = dir else { return Ok(None) };
    match overlay.lookup(dir, name) {
        Ok(entry) => Ok(Some(entry)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The names in a directory.
fn list(overlay: &Overlay, dir: u64) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    overlay.readdir(dir, 0, |entry| {
        if &*entry.name != "." && &*entry.name != ".." {
            names.push(entry.name.to_os_string());
        }
        Fill::More
    })?;
    Ok(names)
}

fn joined(names: &[OsString], name: &OsStr) -> Names {
    let mut joined = names.to_vec();
    joined.push(name.to_owned());
    joined
}

/// The path that names lead to, from the root.
pub(crate) fn path_of(names: &[OsString]) -> Vec<u8> {
    let mut path = Vec::new();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
    }
    path
}

/// A failure to do something with what the container shows.
pub(crate) fn cannot(what: &str, names: &[OsString], errno: Errno) -> CliError {
    let path = path_of(names);
    let path = if path.is_empty() { b"/" } else { &path[..] };
    let reason = std::io::Error::from(errno);
    CliError::new(format_args!(
        "cannot {what} {} of the container: {}",
        escaped(path),
        crate::error::reason(&reason)
    ))
}

/// Leaves out of the changes of a container the places that it has only to be mounted on.
pub(crate) fn leave_out(places: &BTreeSet<PathBuf>, changes: &mut BTreeMap<Names, Change>) {
    for path in places.iter().rev() {
        let names: Names = places::names(path)
            .into_iter()
            .map(OsStr::to_owned)
            .collect();
        let is_empty = |change: &Change| {
            let attr = change.entry.map(|entry| entry.attr);
            attr.is_some_and(|attr| attr.kind.is_dir() || attr.size == 0)
        };
        let mut below = changes.range(names.clone()..).skip(1);
        let has_more = below
            .next()
            .is_some_and(|(next, _)| next.starts_with(&names));
        match changes.get(&names) {
            Some(change) if is_empty(change) && !has_more => {}
            _ => continue,
        }
        if let Some(change) = changes.remove(&names)
            && change.kind == Kind::Changed
        {
            // The container had removed the name of the image.
            changes.insert(names, Change::deleted(false));
        }
    }
}

//! Directories of the layer that are held open.
//!
//! Archives go through a tree depth first, so that the directory of an entry is nearly always among
//! those of the entries right before it, or right below one of them. A few are kept; everything else
//! is opened from the root in one system call.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// How many directories are held beside the root.
const HELD: usize = 32;

/// The directory of a layer.
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    /// Paths below the root with their directories, the one used last at the end.
    held: Vec<(Vec<u8>, Rc<OwnedFd>)>,
}

/// How directories are opened, to be listed, changed and worked in.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root: Rc::new(root),
            held: Vec::with_capacity(HELD),
        }
    }

    pub(crate) fn root(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.root)
    }

    /// The directory of a path that has been made safe; the root for an empty one.
    ///
    /// # Errors
    /// Those of openat2(2): `LOOP` or `NOTDIR` if a component is a link, `NOSYS` where the kernel
    /// or a filter does not know the call.
    pub(crate) fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.root());
        }
        if let Some(at) = self.held.iter().rposition(|(held, _)| held == path) {
            // Most often it is the last one, and nothing moves.
            if let Some(unmoved) = self.held.get_mut(at..) {
                unmoved.rotate_left(1);
            }
            if let Some((_, dir)) = self.held.last() {
                return Ok(Rc::clone(dir));
            }
        }
        if let Some((parent, name)) = self.parent_of(path) {
            // One step, however deep it is.
            let dir = Rc::new(Self::step(&parent, name)?);
            self.hold(path, &dir);
            return Ok(dir);
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&*self.root, path, FLAGS, Mode::empty(), resolve);
        // EAGAIN: something in the system was renamed meanwhile (openat2(2)).
        let dir = (0..16).find_map(|_| match open() {
            Err(Errno::AGAIN | Errno::INTR) => None,
            other => Some(other),
        });
        let dir = Rc::new(dir.unwrap_or(Err(Errno::AGAIN))?);
        self.hold(path, &dir);
        Ok(dir)
    }

    /// The directory above a path, if it is held, and the last component.
    fn parent_of<'p>(&self, path: &'p [u8]) -> Option<(Rc<OwnedFd>, &'p [u8])> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match slash {
            Some(slash) => (path.get(..slash)?, path.get(slash + 1..)?),
            None => (&b""[..], path),
        };
        // Never in a path that has been made safe; openat2(2) refuses it.
        if name == b".." {
            return None;
        }
        if parent.is_empty() {
            return Some((self.root(), name));
        }
        let held = self.held.iter().rev().find(|(held, _)| held == parent);
        held.map(|(_, dir)| (Rc::clone(dir), name))
    }

    /// Opens one component of a path without following it.
    pub(crate) fn step(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd> {
        rustix::io::retry_on_intr(|| rustix::fs::openat(dir, name, FLAGS, Mode::empty()))
    }

    /// Keeps a directory open for the entries to come.
    pub(crate) fn hold(&mut self, path: &[u8], dir: &Rc<OwnedFd>) {
        if self.held.len() == HELD {
            self.held.remove(0);
        }
        self.held.push((path.to_vec(), Rc::clone(dir)));
    }

    /// Lets go of a directory that is to be removed, and of all below it.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        self.held.retain(|(held, _)| !is_at_or_below(held, path));
    }
}

/// Whether the first path is the second or leads below it.
pub(crate) fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    match path.strip_prefix(top) {
        Some(rest) => rest.is_empty() || top.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("a/b/c")).unwrap();
        symlink("b", tmp.path().join("a/inside")).unwrap();
        symlink("/", tmp.path().join("a/outside")).unwrap();
        let mut tree = Tree::new(File::open(tmp.path()).unwrap().into());
        for good in ["", "a", "a/b", "a/b/c", "a/b"] {
            assert!(tree.open(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "a/inside",
            "a/inside/c",
            "a/outside",
            "a/outside/etc",
            "..",
            "a/../..",
        ] {
            assert!(tree.open(bad.as_bytes()).is_err(), "{bad}");
        }
        let a = tree.open(b"a").unwrap();
        assert!(Tree::step(&a, b"b").is_ok());
        assert!(Tree::step(&a, b"inside").is_err());
    }

    #[test]
    fn a_removed_directory_is_let_go() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("a/b")).unwrap();
        fs::create_dir_all(tmp.path().join("ab")).unwrap();
        let mut tree = Tree::new(File::open(tmp.path()).unwrap().into());
        for path in ["a", "a/b", "ab"] {
            tree.open(path.as_bytes()).unwrap();
        }
        tree.forget(b"a");
        assert_eq!(tree.held.len(), 1);
        assert_eq!(tree.held[0].0, b"ab");
    }

    #[test]
    fn only_so_many_are_held() {
        let tmp = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(File::open(tmp.path()).unwrap().into());
        for round in 0..2 {
            for at in 0..100 {
                let name = format!("d{at}");
                if round == 0 {
                    fs::create_dir(tmp.path().join(&name)).unwrap();
                }
                tree.open(name.as_bytes()).unwrap();
                assert!(tree.held.len() <= HELD);
            }
        }
    }
}

//! Paths in an image, which is not trusted: resolved below its root, and opened without a surprise.
//!
//! Links in the image lead where they would lead if its root were the root, never out of it, and the links
//! of /proc that are none (`/proc/self/exe`, `/proc/self/fd/3`) lead nowhere (openat2(2)).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::failure::{Doing, Failure, Outcome};

/// How links in a path are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// As if the root were the root of this process.
    Follow,
    /// A link is an error (`LOOP`).
    Refuse,
}

/// The root directory of a container.
pub(crate) struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens the root, where the image is mounted.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty());
        let dir = dir.doing(format_args!("open {}", path.display()))?;
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Opens a path below the root without reading or changing what is there.
    pub(crate) fn find(&self, path: &Path, links: Links) -> rustix::io::Result<OwnedFd> {
        self.open_at(path, OFlags::PATH, links)
    }

    fn open_at(&self, path: &Path, flags: OFlags, links: Links) -> rustix::io::Result<OwnedFd> {
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let resolve = match links {
            Links::Follow => resolve,
            Links::Refuse => resolve | ResolveFlags::NO_SYMLINKS,
        };
        openat2(self.dir(), path, flags, Mode::empty(), resolve)
    }

    /// A directory or file to mount on, made if it is not there, with the directories above it. A link that
    /// leads nowhere yet gets what it leads to.
    pub(super) fn place(
        &self,
        path: &Path,
        is_dir: bool,
        links: Links,
    ) -> rustix::io::Result<OwnedFd> {
        let path = match links {
            Links::Follow => self.destination(path),
            Links::Refuse => path.to_owned(),
        };
        let mut dir = self.find(Path::new("/"), links)?;
        let names: Vec<&OsStr> = path.components().filter_map(name_of).collect();
        let mut walked = PathBuf::from("/");
        for (at, name) in names.iter().enumerate() {
            walked.push(name);
            let is_file = !is_dir && at + 1 == names.len();
            dir = match self.find(&walked, links) {
                Err(Errno::NOENT) => {
                    match is_file {
                        true => make_file(&dir, name)?,
                        false => rustix::fs::mkdirat(&dir, *name, Mode::from_raw_mode(0o755))?,
                    }
                    self.find(&walked, links)?
                }
                found => found?,
            };
        }
        Ok(dir)
    }

    /// The path at which something is, or would be made by [`place`](Self::place): that of a link which leads
    /// nowhere yet is what it leads to.
    pub(crate) fn destination(&self, path: &Path) -> PathBuf {
        // As many as the kernel follows (path_resolution(7)).
        const LINKS: usize = 40;
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            match self.dangling(&path) {
                Some(leads_to) => path = leads_to,
                None => break,
            }
        }
        path
    }

    /// Where the first link on a path leads that leads nowhere.
    fn dangling(&self, path: &Path) -> Option<PathBuf> {
        let names: Vec<&OsStr> = path.components().filter_map(name_of).collect();
        let mut walked = PathBuf::from("/");
        for (at, name) in names.iter().enumerate() {
            let above = walked.clone();
            walked.push(name);
            if self.find(&walked, Links::Follow).err() == Some(Errno::NOENT) {
                let dir = self.find(&above, Links::Follow).ok()?;
                let target = rustix::fs::readlinkat(&dir, *name, Vec::new()).ok()?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                let rest: PathBuf = names.iter().skip(at + 1).collect();
                return Some(above.join(target).join(rest));
            }
        }
        None
    }

    /// The content of a regular file of the image, up to `limit` bytes; `None` if there is none. Pipes and
    /// devices are not opened, so that reading ends.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Outcome<Option<Vec<u8>>> {
        let shown = path.display();
        let doing = format!("read {shown} in the container");
        let found = match self.find(path, Links::Follow) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            found => found.doing(&doing)?,
        };
        let stat = rustix::fs::fstat(&found).doing(&doing)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Failure::new(format_args!(
                "cannot read {shown} in the container: it is no regular file"
            )));
        }
        // Not by its link of /proc, which in a container that was entered is whatever that mounted there,
        // and without waiting, since it may be a pipe by now.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags, Links::Follow).doing(&doing)?;
        let opened = rustix::fs::fstat(&file).doing(&doing)?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Failure::new(format_args!(
                "cannot read {shown} in the container: it changes"
            )));
        }
        let file = File::from(file);
        let mut content = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut content)
            .doing(&doing)?;
        if content.len() as u64 > limit {
            return Err(Failure::new(format_args!(
                "cannot read {shown} in the container: it is larger than {limit} bytes"
            )));
        }
        Ok(Some(content))
    }
}

/// Opens a path relative to a directory. The kernel gives up with `AGAIN` where something is renamed
/// meanwhile, and wants to be asked again (openat2(2)).
pub(super) fn openat2(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    const TRIES: usize = 64;
    for _ in 0..TRIES {
        match rustix::fs::openat2(dir, path, flags, mode, resolve) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a path of the present root, in which /proc may be mounted, without following a link of /proc that
/// is none.
pub(super) fn open_here(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

fn name_of<'p>(part: Component<'p>) -> Option<&'p OsStr> {
    match part {
        Component::Normal(name) => Some(name),
        // The kernel takes it at the root for the root.
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    }
}

fn make_file(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// The path that leads to what a descriptor is of, while the machine's /proc can be seen.
pub(super) fn proc_path(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

//! Paths in an image, which is not trusted: resolved below its root, and opened without a surprise.
//!
//! Links in the image lead where they would lead if its root were the root, never out of it, and the links
//! of /proc that are none (`/proc/self/exe`, `/proc/self/fd/3`) lead nowhere (openat2(2)).

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{CliError, Context, Result, reason};

/// How links in a path are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// As if the root were the root of this process.
    Follow,
    /// A link is an error (`LOOP`).
    Refuse,
}

/// Why a place cannot be mounted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// It is the root: the mount would be the whole container.
    Root,
    /// It is by a link in a system directory, whose files programs rely on by name.
    InSystem(PathBuf),
    /// It cannot be opened or made.
    Errno(Errno),
}

impl From<Errno> for NoPlace {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("in this image it is a link to the root of the container"),
            Self::InSystem(path) => write!(
                f,
                "in this image it is a link to {}, and links into /dev, /proc and /sys are not followed",
                path.display()
            ),
            Self::Errno(errno) => f.write_str(&reason(errno)),
        }
    }
}

impl NoPlace {
    /// The failure of a mount on `target`.
    pub(crate) fn failure(&self, target: &Path) -> CliError {
        let shown = target.display();
        CliError::new(match self {
            Self::Errno(_) => format!("cannot open {shown} in the container: {self}"),
            _ => format!("cannot mount on {shown} in the container: {self}; choose another place"),
        })
    }
}

/// Whether a path, in which there are no links, is in a directory that programs rely on by its name.
pub(crate) fn is_in_system(path: &Path) -> bool {
    let system = ["/proc", "/dev", "/sys"];
    system.iter().any(|dir| path.starts_with(dir))
}

/// The root directory of a container.
pub(crate) struct Root {
    dir: OwnedFd,
}

impl Root {
    /// Opens the root, where the image is mounted.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty());
        let dir = dir.context(format_args!("open {}", path.display()))?;
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
    /// leads nowhere yet gets what it leads to, but no link leads to the root or into a system directory.
    pub(super) fn place(
        &self,
        path: &Path,
        is_dir: bool,
        links: Links,
    ) -> Result<OwnedFd, NoPlace> {
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
                    // What is in a system directory may be the caller's, and stays.
                    if links == Links::Follow {
                        refuse_system(self.path_of(&dir)?)?;
                    }
                    if is_file {
                        make_file(&dir, name)?;
                    } else {
                        rustix::fs::mkdirat(&dir, *name, Mode::from_raw_mode(0o755))?;
                    }
                    self.find(&walked, links)?
                }
                found => found?,
            };
        }
        if links == Links::Follow {
            require_place(self.path_of(&dir)?)?;
        }
        Ok(dir)
    }

    /// Whether something could be mounted on a path whose links are followed. Makes nothing.
    pub(crate) fn check_place(&self, path: &Path) -> Result<(), NoPlace> {
        if is_in_system(path) {
            return Ok(());
        }
        let path = self.destination(path);
        for above in path.ancestors() {
            if let Ok(found) = self.find(above, Links::Follow) {
                let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
                return require_place(self.path_of(&found)?.join(rest));
            }
        }
        Ok(())
    }

    /// The path in the container of what a descriptor is of, while the machine's /proc can be seen.
    fn path_of(&self, fd: &OwnedFd) -> rustix::io::Result<PathBuf> {
        let path = |fd: &OwnedFd| {
            let path = rustix::fs::readlink(proc_path(fd), Vec::new())?;
            Ok(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
        };
        let (root, found) = (path(&self.dir)?, path(fd)?);
        let below = found.strip_prefix(&root).map_err(|_| Errno::XDEV)?;
        Ok(Path::new("/").join(below))
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

    /// The paths, without links, of what [`place`](Self::place) would make to mount on a path.
    pub(crate) fn missing(&self, path: &Path) -> Vec<PathBuf> {
        let path = self.destination(path);
        let mut names = Vec::new();
        for above in path.ancestors() {
            if let Ok(found) = self.find(above, Links::Follow) {
                let Ok(mut place) = self.path_of(&found) else {
                    break;
                };
                let below = names.iter().rev().map(|name| {
                    place.push(name);
                    place.clone()
                });
                return below.collect();
            }
            names.extend(above.file_name());
        }
        Vec::new()
    }

    /// The content of a regular file of the image, up to `limit` bytes; `None` if there is none. Pipes and
    /// devices are not opened, so that reading ends.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let shown = path.display();
        let action = format!("read {shown} in the container");
        let found = match self.find(path, Links::Follow) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            found => found.context(&action)?,
        };
        let stat = rustix::fs::fstat(&found).context(&action)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(CliError::new(format_args!(
                "cannot read {shown} in the container: it is no regular file"
            )));
        }
        // Not by its link of /proc, which in a container that was entered is whatever that mounted there,
        // and without waiting, since it may be a pipe by now.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags, Links::Follow).context(&action)?;
        let opened = rustix::fs::fstat(&file).context(&action)?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(CliError::new(format_args!(
                "cannot read {shown} in the container: it changes"
            )));
        }
        let file = File::from(file);
        let mut content = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut content)
            .context(&action)?;
        if content.len() as u64 > limit {
            return Err(CliError::new(format_args!(
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

/// Refuses a path, in which there are no links, that is the root or in a system directory.
fn require_place(path: PathBuf) -> Result<(), NoPlace> {
    if path.parent().is_none() {
        return Err(NoPlace::Root);
    }
    refuse_system(path)
}

fn refuse_system(path: PathBuf) -> Result<(), NoPlace> {
    if is_in_system(&path) {
        return Err(NoPlace::InSystem(path));
    }
    Ok(())
}

fn make_file(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// The path that leads to what a descriptor is of, while the machine's /proc can be seen.
pub(super) fn proc_path(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

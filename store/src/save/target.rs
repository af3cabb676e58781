//! Files that get their name when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::{Context, Result, SaveError};

/// A directory that is held open, so that nothing that takes its name later leads elsewhere.
pub(super) struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Directory {
    /// Opens the directory that the user named, through links.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn open(path: &Path) -> Result<Self> {
        let named = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let fd = rustix::fs::openat(CWD, named, DIRECTORY, Mode::empty());
        Ok(Self {
            path: path.to_owned(),
            fd: fd.context("open", named)?,
        })
    }

    /// Opens a directory in this one, and makes it if there is none. Returns whether it was created.
    ///
    /// # Errors
    /// [`SaveError::NotADirectory`] if a link or a file has the name.
    pub(super) fn enter(&self, name: &str) -> Result<(Self, bool)> {
        let path = self.path.join(name);
        let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        let made = match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno).context("create", &path),
        };
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok((Self { path, fd }, made)),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(SaveError::NotADirectory(path).into()),
            Err(errno) => Err(errno).context("open", &path),
        }
    }

    /// Opens a file without following a link and without waiting for the other end of a fifo; `None`
    /// if nothing has the name.
    ///
    /// # Errors
    /// Those of open(2): `LOOP` for a link.
    pub(super) fn file(&self, name: &str) -> Result<Option<File>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The path of a name in it, for messages.
    pub(super) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

/// A file beside its place, removed unless it gets there.
pub(super) struct Unnamed<'d> {
    dir: &'d Directory,
    /// What it is called until it is complete.
    name: OsString,
    wanted: OsString,
    file: Option<File>,
    replace: bool,
}

impl<'d> Unnamed<'d> {
    /// Begins a file that gets the name `wanted`, which is free.
    ///
    /// # Errors
    /// [`SaveError::Exists`] if it is not free.
    pub(super) fn create(dir: &'d Directory, wanted: &OsStr) -> Result<Self> {
        match rustix::fs::statat(&dir.fd, wanted, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(SaveError::Exists(dir.path_of(wanted)).into()),
            Err(_) => Self::begin(dir, wanted, false),
        }
    }

    /// Begins a file that gets the name `wanted`, in place of what has it.
    pub(super) fn replacing(dir: &'d Directory, wanted: &str) -> Result<Self> {
        Self::begin(dir, OsStr::new(wanted), true)
    }

    fn begin(dir: &'d Directory, wanted: &OsStr, replace: bool) -> Result<Self> {
        let shown = wanted.to_string_lossy();
        let name = format!(".{shown}.plyfs-{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir.fd, &name, flags, Mode::from_raw_mode(0o666));
        Ok(Self {
            file: Some(file.context("create", &dir.path_of(&name))?.into()),
            dir,
            name: name.into(),
            wanted: wanted.to_owned(),
            replace,
        })
    }

    fn place(&self) -> PathBuf {
        self.dir.path_of(&self.wanted)
    }

    /// Fills it.
    pub(super) fn write(
        &mut self,
        fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
    ) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let mut out = BufWriter::with_capacity(crate::values::limits::BUFFER, file);
        fill(&mut out)?;
        out.flush().context("write", &self.place())?;
        out.get_ref().sync_all().context("write", &self.place())
    }

    /// Gives it its name.
    pub(super) fn publish(self) -> Result<()> {
        let dir = self.dir.fd.as_fd();
        let rename = |flags| rustix::fs::renameat_with(dir, &self.name, dir, &self.wanted, flags);
        let renamed = if self.replace {
            rename(RenameFlags::empty())
        } else {
            match rename(RenameFlags::NOREPLACE) {
                // A file system that cannot; there was none a moment ago.
                Err(Errno::INVAL) => rename(RenameFlags::empty()),
                Err(Errno::EXIST) => return Err(SaveError::Exists(self.place()).into()),
                renamed => renamed,
            }
        };
        renamed.context("write", &self.place())?;
        rustix::fs::fsync(dir).context("sync", &self.dir.path)
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        // Gone if it has its name.
        if let Err(errno) = rustix::fs::unlinkat(&self.dir.fd, &self.name, AtFlags::empty())
            && errno != Errno::NOENT
        {
            let path = self.dir.path_of(&self.name);
            log::warn!("cannot remove {}: {errno}", path.display());
        }
    }
}

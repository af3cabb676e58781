//! Blobs on their way from elsewhere.
//!
//! What has come of a blob lies in `downloads/HEX`, so that the next pull goes on at its end, also after this process
//! was killed. The file is locked (flock(2)) while one process writes to it; others wait for it instead of fetching the
//! same bytes. It becomes a blob of the store by a rename, after its digest has been checked.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::fill::fill;
use super::staging::lock;
use super::store::Store;
use crate::error::{Context, Error, Result};
use crate::remote::{Remote, RemoteBlob};
use crate::values::Digest;

/// How often a process that waits for another one looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A blob that comes, and what of it is here.
pub(crate) struct Download {
    remote: Arc<dyn Remote>,
    digest: Digest,
    size: u64,
    path: PathBuf,
    /// Holds the lock.
    file: File,
    state: Mutex<State>,
}

struct State {
    /// How much of the blob is here, in bytes.
    here: u64,
    /// What comes after that, once it is asked for.
    coming: Option<Box<dyn RemoteBlob>>,
}

impl Store {
    /// Begins or goes on with a download, alone: waits while another process has it, and asks `go_on` meanwhile.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `go_on` said so, and those of the file.
    pub(crate) fn download(
        &self,
        remote: &Arc<dyn Remote>,
        (digest, size): (Digest, u64),
        go_on: &dyn Fn() -> bool,
    ) -> Result<Download> {
        let dir = self.make_dir_of_later_version(self.downloads_dir())?;
        let path = dir.join(digest.hex());
        let file = loop {
            if !go_on() {
                return Err(Error::Interrupted);
            }
            let file = open(&path)?;
            match lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, &path) => break file,
                // The other process made a blob of it, or removed it.
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => std::thread::sleep(LOOK_AGAIN),
                Err(errno) => return Err(errno).context("lock", &path),
            }
        };
        let here = file.metadata().context("examine", &path)?.len();
        let download = Download {
            remote: Arc::clone(remote),
            digest,
            size,
            path,
            file,
            state: Mutex::new(State { here, coming: None }),
        };
        if here > size {
            download.restart()?;
        }
        Ok(download)
    }
}

/// Opens the file of a download, and makes it if there is none.
fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .context("open", path)
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (file.dev(), file.ino()) == (there.dev(), there.ino())
}

impl Download {
    /// The size of the whole blob, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.size
    }

    /// Where it lies until it is a blob.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How much of it is here, in bytes.
    pub(crate) fn here(&self) -> u64 {
        self.state.lock().here
    }

    /// Reads from `position` on, first what is here, then what comes, which is kept. Nothing only at the end.
    ///
    /// # Errors
    /// [`Error::Remote`], and those of the file.
    pub(crate) fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut state = self.state.lock();
        if position < state.here {
            let left = usize::try_from(state.here - position).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let buffer = buffer.get_mut(..length).unwrap_or_default();
            return self
                .file
                .read_at(buffer, position)
                .context("read", &self.path);
        }
        if position >= self.size {
            return Ok(0);
        }
        let coming = match &mut state.coming {
            Some(coming) => coming,
            coming => {
                let blob = self.remote.blob(&self.digest, self.size, position);
                coming.insert(blob.map_err(Error::Remote)?)
            }
        };
        let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let count = coming.read(buffer).map_err(Error::Remote)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        self.file
            .write_all_at(bytes, position)
            .context("write", &self.path)?;
        state.here = position + count as u64;
        Ok(count)
    }

    /// The first bytes, at most `N`.
    ///
    /// # Errors
    /// As [`Download::read_at`].
    pub(crate) fn start<const N: usize>(&self) -> Result<Vec<u8>> {
        let mut start = vec![0; N];
        let done = fill(&mut start, |position, rest| self.read_at(position, rest))?;
        start.truncate(done);
        Ok(start)
    }

    /// Forgets what is here.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub(crate) fn restart(&self) -> Result<()> {
        self.file.set_len(0).context("empty", &self.path)?;
        *self.state.lock() = State {
            here: 0,
            coming: None,
        };
        Ok(())
    }

    /// Removes what is here, since it is not what it should be, or the store has the blob.
    pub(crate) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Store {
    /// Removes downloads that broke off and that no process goes on with. Returns how many bytes they had.
    ///
    /// # Errors
    /// Those of reading the directory; what cannot be removed stays, with a warning.
    pub fn remove_downloads(&self) -> Result<u64> {
        let dir = self.downloads_dir();
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            entries => entries.context("list", &dir)?,
        };
        let mut bytes = 0;
        for entry in entries {
            bytes += remove_if_free(&entry.context("list", &dir)?.path());
        }
        Ok(bytes)
    }
}

/// Removes a download unless a process works on it. Returns how many bytes it had.
fn remove_if_free(path: &Path) -> u64 {
    let Ok(file) = File::options().read(true).open(path) else {
        return 0;
    };
    // A pull may have made a blob of it before it could be locked, and another one may have begun a new file.
    let locked = lock(&file, FlockOperation::NonBlockingLockExclusive);
    if locked.is_err() || !is_at(&file, path) {
        return 0;
    }
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    match std::fs::remove_file(path) {
        Ok(()) => length,
        Err(error) => {
            log::warn!("cannot remove {}: {error}", path.display());
            0
        }
    }
}

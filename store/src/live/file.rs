//! The files of records, and which of them are stale.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::record::LiveRecord;
use crate::disk::{lock, open_dir, parse_json};
use crate::error::{Context, Result};
use crate::values::{ContainerName, limits};

/// How often a record whose process seems to be gone is looked at again, and after how long.
pub(super) const LOOKS: usize = 8;
pub(super) const LOOK: Duration = Duration::from_millis(15);

pub(super) fn file_name(id: &ContainerName) -> String {
    format!("{}.json", id.as_str())
}

/// Opens the directory of live records. Stores of older versions have none.
pub(super) fn open_or_make(path: &Path) -> Result<OwnedFd> {
    if let Some(dir) = open_if_there(path)? {
        return Ok(dir);
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context("create", path),
    }
    open_dir(path).context("open", path)
}

pub(super) fn open_if_there(path: &Path) -> Result<Option<OwnedFd>> {
    match open_dir(path) {
        Err(Errno::NOENT) => Ok(None),
        opened => opened.context("open", path).map(Some),
    }
}

/// Opens the file of a record; `None` if it is gone, or is no file.
pub(super) fn open_file(dir: &OwnedFd, path: &Path, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        opened => opened.context("open", &path.join(name)).map(Some),
    }
}

/// The record in a file; `None` if it is stale, in which case it is removed, or if it is no record.
pub(super) fn read_record(dir: &OwnedFd, path: &Path, name: &str) -> Result<Option<LiveRecord>> {
    let whole = path.join(name);
    let mut found = None;
    for _ in 0..LOOKS {
        if remove_if_stale(dir, path, name)? || !name.ends_with(".json") {
            return Ok(None);
        }
        let Some(file) = open_file(dir, path, name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let mut file = File::from(file).take(limits::DOCUMENT_BYTES);
        file.read_to_end(&mut bytes).context("read", &whole)?;
        let record: LiveRecord = parse_json(&whole, &bytes)?;
        if !record.is_in_own_pid_namespace() || record.process.open().is_some() {
            return Ok(Some(record));
        }
        // The lock is held by a listing that removes the file, or by a child that takes over or ends.
        found = Some(record);
        std::thread::sleep(LOOK);
    }
    Ok(found)
}

/// Removes a file whose lock is free. Returns whether it is gone.
pub(super) fn remove_if_stale(dir: &OwnedFd, path: &Path, name: &str) -> Result<bool> {
    let whole = path.join(name);
    let Some(file) = open_file(dir, path, name)? else {
        return Ok(true);
    };
    match lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(false),
        locked => locked.context("lock", &whole)?,
    }
    // Between opening and locking it may have been replaced by a record that is live.
    let held = rustix::fs::fstat(&file).context("examine", &whole)?;
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) => {}
        Ok(_) => return Ok(false),
        Err(_) => return Ok(true),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => log::debug!(
            "removed {}, left by a process that was killed",
            whole.display()
        ),
        Err(errno) => log::debug!("cannot remove {}: {errno}", whole.display()),
    }
    Ok(true)
}

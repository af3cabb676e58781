//! The entry that a serving process has, and the file of its record.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::file::file_name;
use super::process::ProcessId;
use super::record::LiveRecord;
use crate::disk::lock;
use crate::error::{Context, Result};
use crate::values::to_json;

/// How often a file that another process took for a leftover is made again.
const ATTEMPTS: usize = 100;

/// What the names of files begin with that are not records yet.
const UNFINISHED: &str = ".new-";

/// The record of this process, which it holds until it is dropped.
///
/// Only the process that registered, or took over last, removes it: a copy in a child of fork(2) may be
/// dropped without consequence.
#[derive(Debug)]
pub struct LiveEntry {
    pub(super) record: LiveRecord,
    pub(super) dir: OwnedFd,
    pub(super) path: PathBuf,
    /// Holds the lock.
    pub(super) file: OwnedFd,
    /// The process that removes the record.
    pub(super) owner: Pid,
}

impl LiveEntry {
    /// The record as it was written last.
    pub fn record(&self) -> &LiveRecord {
        &self.record
    }

    /// Changes the record. Others see the old one or the new one, and either is locked. The id stays.
    ///
    /// # Errors
    /// If it cannot be written; then the old one stays.
    pub fn update(&mut self, change: impl FnOnce(&mut LiveRecord)) -> Result<()> {
        let mut record = self.record.clone();
        change(&mut record);
        record.id = self.record.id.clone();
        let place = file_name(&record.id);
        let path = self.path.join(&place);
        for _ in 0..ATTEMPTS {
            let unfinished = Unfinished::create(self.dir.as_fd(), &self.path, &record)?;
            match rustix::fs::renameat(&self.dir, &unfinished.name, &self.dir, &place) {
                // Another process listed, and removed it before it was locked.
                Err(Errno::NOENT) => {}
                renamed => {
                    renamed.context("publish", &path)?;
                    // The lock of the old file goes after it has lost its name.
                    self.file = unfinished.file;
                    self.record = record;
                    return Ok(());
                }
            }
        }
        Err(Errno::NOENT).context("publish", &path)
    }

    /// Makes this process, which has come of the one that registered by fork(2), the one that serves and
    /// that removes the record. Nothing is done in the process that is it already.
    ///
    /// # Errors
    /// As [`LiveEntry::update`]; this process removes the record nevertheless.
    pub fn take_over(&mut self) -> Result<()> {
        let own = rustix::process::getpid();
        if self.owner == own {
            return Ok(());
        }
        self.owner = own;
        let process = ProcessId::own()?;
        self.update(|record| record.process = process)
    }
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        if self.owner != rustix::process::getpid() {
            return;
        }
        let name = file_name(&self.record.id);
        match rustix::fs::unlinkat(&self.dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Its lock is free from now on, so the next listing tries again.
            Err(errno) => log::debug!("cannot remove {}: {errno}", self.path.join(name).display()),
        }
    }
}

/// A record that has no name of its own yet, locked.
pub(super) struct Unfinished {
    pub(super) name: String,
    pub(super) file: OwnedFd,
}

impl Unfinished {
    pub(super) fn create(dir: impl AsFd, path: &Path, record: &LiveRecord) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            // In another pid namespace a process may have the same number.
            let (namespace, pid) = (record.namespace.pid, std::process::id());
            let name = format!("{UNFINISHED}{namespace}-{pid}-{count}");
            let path = path.join(&name);
            let file = match rustix::fs::openat(&dir, &name, flags, mode) {
                // A leftover of an older process with this number.
                Err(Errno::EXIST) => continue,
                opened => opened.context("create", &path)?,
            };
            lock(&file, FlockOperation::LockExclusive).context("lock", &path)?;
            let mut file = File::from(file);
            let written = file.write_all(&to_json(record)).context("write", &path);
            if written.is_err() {
                rustix::fs::unlinkat(&dir, &name, AtFlags::empty()).ok();
            }
            written?;
            return Ok(Self {
                name,
                file: file.into(),
            });
        }
    }
}

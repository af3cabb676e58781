//! The one place that answers requests. It logs what each was answered, and warns once of what a user should know.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuser::{
    FileAttr, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request,
};
use log::Level;
use plyfs_fs::types::Attr;
use plyfs_fs::{DirEntry, Entry, Errno, Overlay, ROOT_ID, Result};
use rustix::fs::StatVfs;

use super::convert::{absent, attr, errno};
use super::latency::burst::Work;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'n> {
    operation: &'static str,
    node: u64,
    name: Option<&'n OsStr>,
    pub(crate) work: Work,
}

impl<'n> Call<'n> {
    /// An operation on a node.
    pub(crate) fn on(operation: &'static str, node: INodeNo) -> Self {
        Self {
            operation,
            node: node.0,
            name: None,
            work: Work::Little,
        }
    }

    /// An operation on a name in a directory.
    pub(crate) fn named(operation: &'static str, parent: INodeNo, name: &'n OsStr) -> Self {
        Self {
            name: Some(name),
            ..Self::on(operation, parent)
        }
    }

    pub(crate) fn with(self, work: Work) -> Self {
        Self { work, ..self }
    }
}

/// What the answers of a session have in common.
#[derive(Debug)]
pub(crate) struct Answers {
    overlay: Arc<Overlay>,
    /// Whether layers may change below the mount, so that ESTALE is no surprise.
    allow_for_changes: bool,
    has_warned: AtomicBool,
}

impl Answers {
    pub(crate) fn new(overlay: Arc<Overlay>, allow_for_changes: bool) -> Self {
        Self {
            overlay,
            allow_for_changes,
            has_warned: AtomicBool::new(false),
        }
    }

    /// Takes a request on, until [`Pending`] is answered.
    pub(crate) fn pending<R>(
        self: &Arc<Self>,
        request: &Request,
        call: Call<'_>,
        reply: R,
    ) -> Pending<R> {
        let is_logged = log::log_enabled!(Level::Debug);
        Pending {
            answers: self.clone(),
            unique: request.unique().0,
            operation: call.operation,
            node: call.node,
            name: call.name.filter(|_| is_logged).map(OsStr::to_owned),
            reply,
        }
    }

    /// Whether a user should hear of this error, and has not yet.
    fn warns_of(&self, error: Errno) -> bool {
        let matters = match error {
            Errno::IO => true,
            Errno::STALE => !self.allow_for_changes,
            _ => false,
        };
        matters && !self.has_warned.swap(true, Ordering::Relaxed)
    }
}

/// How an answer is an error.
pub(crate) trait Refuse {
    fn refuse(self, errno: fuser::Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: fuser::Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyIoctl,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Pending<R> {
    answers: Arc<Answers>,
    /// The kernel's number of the request.
    unique: u64,
    operation: &'static str,
    node: u64,
    /// A name in the node, if answers are logged.
    name: Option<OsString>,
    pub(crate) reply: R,
}

impl<R: Refuse> Pending<R> {
    pub(crate) fn fail(self, error: Errno) {
        self.finish(Err::<(), _>(error), |_, ()| {});
    }

    /// Answers with an error, or by calling `send`.
    fn finish<T>(self, result: Result<T>, send: impl FnOnce(R, T)) {
        self.log(result.as_ref().err().copied());
        match result {
            Ok(value) => send(self.reply, value),
            Err(error) => self.reply.refuse(errno(error)),
        }
    }
}

impl<R> Pending<R> {
    /// Logs the answer before it is sent: the client may end the daemon.
    fn log(&self, error: Option<Errno>) {
        if let Some(error) = error.filter(|error| self.answers.warns_of(*error)) {
            self.warn(error);
        }
        if log::log_enabled!(Level::Debug) {
            match (error, error.and_then(plyfs_fs::take_site)) {
                (None, _) => log::debug!("{self}: done"),
                (Some(error), None) => log::debug!("{self}: {error}"),
                (Some(error), Some(site)) => log::debug!("{self}: {error}, decided at {site}"),
            }
        }
    }

    #[cold]
    fn warn(&self, error: Errno) {
        let remedy = match error {
            Errno::STALE => {
                "a layer changed below the mount: unmount before changing layers, or mount with timeout=0"
            }
            _ => "look into the kernel's log for errors of the disk below, and check the layers",
        };
        log::warn!(
            "{self}: {error}; {remedy}; this is the only warning (docs/debugging.md shows how to log each error)"
        );
    }
}

impl<R> fmt::Display for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}: {} of ", self.unique, self.operation)?;
        if let Some(name) = &self.name {
            write!(f, "{name:?} in ")?;
        }
        write!(f, "node {}", self.node)?;
        let path: Option<PathBuf> = self.answers.overlay.path_of(self.node);
        path.map_or(Ok(()), |path| write!(f, " ({path:?})"))
    }
}

/// How long the attributes hold that a lookup returns. The library answers a lookup with one number for
/// the node and for `st_ino`; where the two differ, the kernel has to ask for the attributes once. So
/// it is with names of a lower file that only look like one until a copy-up makes them separate files.
fn attr_timeout(attr: &Attr, id: u64, timeout: Duration) -> Duration {
    match attr.ino == id || id == ROOT_ID {
        true => timeout,
        false => Duration::ZERO,
    }
}

impl Pending<ReplyEntry> {
    pub(crate) fn entry(self, timeout: Duration, result: Result<Entry>) {
        self.finish(result, |reply, entry| {
            let (attr, generation) = (attr(&entry.attr, entry.id), Generation(0));
            let attr_timeout = attr_timeout(&entry.attr, entry.id, timeout);
            reply.entry_with_ttls(&attr_timeout, &timeout, &attr, generation);
        });
    }

    /// The same, and has the kernel remember that a name is absent.
    pub(crate) fn entry_or_absent(self, timeout: Duration, result: Result<Entry>) {
        if result == Err(Errno::NOENT) {
            self.log(Some(Errno::NOENT));
            return self.reply.entry(&timeout, &absent(), Generation(0));
        }
        self.entry(timeout, result);
    }
}

impl Pending<ReplyCreate> {
    /// Of a file that was made and is open.
    pub(crate) fn created(self, timeout: Duration, result: Result<Entry>) {
        self.finish(result, |reply, entry| {
            let (attr, generation) = (attr(&entry.attr, entry.id), Generation(0));
            let flags = FopenFlags::FOPEN_KEEP_CACHE;
            // The library has one time for the name and for the attributes.
            let timeout = attr_timeout(&entry.attr, entry.id, timeout);
            reply.created(&timeout, &attr, generation, FileHandle(0), flags);
        });
    }
}

impl Pending<ReplyAttr> {
    /// Answers with attributes alone, which have a `st_ino` of their own. The overlay announces every change
    /// of it.
    pub(crate) fn attr(self, timeout: Duration, result: Result<Attr>) {
        self.finish(result, |reply, now| {
            reply.attr(&timeout, &attr(&now, now.ino));
        });
    }
}

impl Pending<ReplyEmpty> {
    pub(crate) fn done(self, result: Result<()>) {
        self.finish(result, |reply, ()| reply.ok());
    }
}

impl Pending<ReplyData> {
    pub(crate) fn data(self, result: Result<impl AsRef<[u8]>>) {
        self.finish(result, |reply, data| reply.data(data.as_ref()));
    }
}

impl Pending<ReplyWrite> {
    pub(crate) fn written(self, result: Result<usize>) {
        // No more is written than was asked for, and that came as 32 bits.
        self.finish(result, |reply, size| {
            reply.written(u32::try_from(size).unwrap_or(u32::MAX));
        });
    }
}

impl Pending<ReplyIoctl> {
    pub(crate) fn ioctl(self, result: Result<Vec<u8>>) {
        self.finish(result, |reply, answer| reply.ioctl(0, &answer));
    }
}

impl Pending<ReplyLseek> {
    pub(crate) fn offset(self, result: Result<u64>) {
        self.finish(result, |reply, found| {
            reply.offset(i64::try_from(found).unwrap_or(i64::MAX));
        });
    }
}

impl Pending<ReplyOpen> {
    /// Answers as `open` says, with no handle.
    pub(crate) fn opened(self, result: Result<FopenFlags>) {
        self.finish(result, |reply, flags| reply.opened(FileHandle(0), flags));
    }

    /// Answers by calling `open`.
    pub(crate) fn opened_by<T>(self, result: Result<T>, open: impl FnOnce(ReplyOpen, T)) {
        self.finish(result, open);
    }
}

impl Pending<ReplyStatfs> {
    pub(crate) fn statfs(self, result: Result<StatVfs>) {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        self.finish(result, |reply, found| {
            reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                small(found.f_bsize),
                small(found.f_namemax),
                small(found.f_frsize),
            );
        });
    }
}

impl Pending<ReplyXattr> {
    /// Answers with a value, or with its size if the caller has no buffer.
    pub(crate) fn value(self, size: u32, result: Result<Vec<u8>>) {
        let result = result.and_then(|value| match value.len() > size as usize && size != 0 {
            true => Err(Errno::RANGE),
            false => Ok(value),
        });
        self.finish(result, |reply, value| match size {
            0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
            _ => reply.data(&value),
        });
    }
}

impl Pending<ReplyDirectory> {
    pub(crate) fn listed(self, result: Result<()>) {
        self.finish(result, |reply, ()| reply.ok());
    }
}

impl Pending<ReplyDirectoryPlus> {
    pub(crate) fn listed(self, result: Result<()>) {
        self.finish(result, |reply, ()| reply.ok());
    }
}

/// Whether an entry is `.` or `..`.
pub(crate) fn is_dots(entry: &DirEntry) -> bool {
    matches!(entry.name.as_bytes(), b"." | b"..")
}

/// What a listing says of an entry, and how long that holds.
pub(crate) fn listed_entry(
    entry: &DirEntry,
    found: Option<&Entry>,
    timeout: Duration,
) -> (FileAttr, Duration) {
    let Some(found) = found else {
        // The kernel makes a node of everything. It asks for this one before it uses it, and gets the error then.
        let attr = FileAttr {
            ino: INodeNo(entry.ino),
            ..absent()
        };
        return (attr, Duration::ZERO);
    };
    // The kernel makes no node of `.` and `..`, and shows the number as it is.
    let number = if is_dots(entry) { entry.ino } else { found.id };
    let timeout = attr_timeout(&found.attr, found.id, timeout);
    (attr(&found.attr, number), timeout)
}

#[cfg(test)]
mod tests;

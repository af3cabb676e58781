//! What is live: mounts and running containers, with the process that serves each of them.
//!
//! A mount may be in a mount namespace that no other process is in. Its record in `live/ID.json` says
//! which process serves it and where, so that other commands can list it, name it in a message and end it.
//!
//! # Invariants
//!
//! - The serving process holds an exclusive lock (flock(2)) on the file of its record for as long as it
//!   lives. A record whose lock is free is stale, however its process ended, and [`Store::live`] removes it.
//! - A record appears and changes in one step, and is locked before it appears: a file is made under
//!   another name, locked, written, and then linked or renamed to its name.
//! - A file is unlinked only under its own lock, after a look whether its name still leads to it.
//! - An id is the name of a container, or a generated name that no container has.
//!
//! The lock goes along to children of fork(2), as that of a container does. It may be held for a moment
//! after the serving process has ended; [`ProcessId::open`] tells. Records are not synced: none
//! outlives its process, let alone the machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::container::{Container, ContainerError, generated_name};
use crate::disk::{Store, lock, parse_json, to_json};
use crate::error::{Context, Result};
use crate::image::Image;
use crate::values::{ContainerName, Digest, ImageName, Timestamp, limits};

/// How often a record whose process seems to be gone is looked at again, and after how long.
const LOOKS: usize = 8;
const LOOK: Duration = Duration::from_millis(15);

/// How often a file that another process took for a leftover is made again.
const ATTEMPTS: usize = 100;

/// What the names of files begin with that are not records yet.
const UNFINISHED: &str = ".new-";

/// What a live record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LiveKind {
    /// A mount of an image or a container.
    Mount,
    /// A container in which a program runs.
    Run,
}

/// A process, told from later ones with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the pid namespace of the process that wrote the record.
    pub pid: i32,
    /// When it was started, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start: u64,
}

/// The namespaces of a process: the inode numbers of files in `/proc/PID/ns` (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Its mount namespace.
    pub mnt: u64,
    /// Its user namespace.
    pub user: u64,
    /// Its pid namespace, in which [`ProcessId::pid`] is its number.
    pub pid: u64,
}

/// What is about to be live, as its maker describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRequest {
    /// What it is.
    pub kind: LiveKind,
    /// The container; none for an image that is mounted or run read-only.
    pub container: Option<ContainerName>,
    /// Whether the container goes with its process.
    pub temporary: bool,
    /// The image, or the name it had when the container was made.
    pub image: ImageName,
    /// Digest of the manifest of the image.
    pub manifest_digest: Digest,
    /// Where it is mounted, in the mount namespace of the process; for a mount.
    #[serde(
        default,
        serialize_with = "write_path",
        deserialize_with = "read_path",
        skip_serializing_if = "Option::is_none"
    )]
    pub target: Option<PathBuf>,
    /// What serves the files: `fuse` or `kernel`.
    pub backend: Option<String>,
    /// The program that is run and its arguments; empty for a mount.
    pub command: Vec<String>,
    /// The signal that asks the program to end, as the image names it, if not SIGTERM.
    pub stop_signal: Option<String>,
    /// For a running container: what the command that started it wants others to know, such as the
    /// configuration that a further process is started with. The store does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<serde_json::Value>,
    /// For a running container: the namespaces that its first process was started in, as links in
    /// /proc/PID/ns say them. That process may make others for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// A live mount or container, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    /// The name it is found by: that of its container, or a generated one.
    pub id: ContainerName,
    /// What it is.
    #[serde(flatten)]
    pub what: LiveRequest,
    /// The process that serves the mount, or attends to the container.
    pub process: ProcessId,
    /// The namespaces of that process when it registered.
    pub namespace: Namespaces,
    /// When it was registered, in RFC 3339.
    pub started: String,
    /// The first process of the container, by its number in the pid namespace of `process`; none for a
    /// mount, and until it is started.
    pub init: Option<ProcessId>,
}

/// The record of this process, which it holds until it is dropped.
///
/// Only the process that registered, or took over last, removes it: a copy in a child of fork(2) may be
/// dropped without consequence.
#[derive(Debug)]
pub struct LiveEntry {
    record: LiveRecord,
    dir: OwnedFd,
    path: PathBuf,
    /// Holds the lock.
    file: OwnedFd,
    /// The process that removes the record.
    owner: Pid,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub fn own() -> Result<Self> {
        Self::of(rustix::process::getpid())
    }

    /// The process that has this number now.
    ///
    /// # Errors
    /// Those of reading `/proc`: `NOENT` if there is no such process.
    pub fn of(pid: Pid) -> Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let start = start_time(&path).context("read", &path)?;
        Ok(Self { pid, start })
    }

    /// A descriptor of the process (pidfd_open(2)); `None` if it is gone, or is waited for by its parent only.
    ///
    /// The number must be one of this process's pid namespace: see [`LiveRecord::open_process`].
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // After opening: the number of a process that is held open may only be another's if it has ended.
        let same = Self::of(pid).is_ok_and(|found| found == *self);
        (same && !has_ended(&process)).then_some(process)
    }
}

/// Whether the process of a descriptor has ended: it is readable then (pidfd_open(2)).
fn has_ended(process: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Field 22 of a file `stat` of a process. Field 2, its name, may have spaces and parentheses in it.
fn start_time(path: &Path) -> std::io::Result<u64> {
    let stat = std::fs::read(path)?;
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
    let field = after_name.and_then(|rest| rest.split_whitespace().nth(19));
    field
        .and_then(|field| field.parse().ok())
        .ok_or(std::io::ErrorKind::InvalidData.into())
}

impl Namespaces {
    /// Those of this process.
    ///
    /// # Errors
    /// Those of looking into `/proc/self/ns`.
    pub fn own() -> Result<Self> {
        let number = |name: &str| -> Result<u64> {
            let path = Path::new("/proc/self/ns").join(name);
            let stat = rustix::fs::stat(&path).context("examine", &path)?;
            Ok(stat.st_ino)
        };
        Ok(Self {
            mnt: number("mnt")?,
            user: number("user")?,
            pid: number("pid")?,
        })
    }
}

impl LiveRequest {
    /// A container.
    pub fn of_container(kind: LiveKind, container: &Container, temporary: bool) -> Self {
        let record = &container.record;
        Self {
            container: Some(record.name.clone()),
            temporary,
            ..Self::of(kind, &record.image, record.manifest_digest)
        }
    }

    /// An image without a container.
    pub fn of_image(kind: LiveKind, image: &Image) -> Self {
        Self::of(kind, &image.name, image.manifest_digest)
    }

    fn of(kind: LiveKind, image: &ImageName, manifest_digest: Digest) -> Self {
        Self {
            kind,
            container: None,
            temporary: false,
            image: image.clone(),
            manifest_digest,
            target: None,
            backend: None,
            command: Vec::new(),
            stop_signal: None,
            configuration: None,
            namespaces: Vec::new(),
        }
    }
}

impl LiveRecord {
    /// A descriptor of the process that serves it; `None` if that is gone, or in a pid namespace where
    /// its number says nothing here.
    pub fn open_process(&self) -> Option<OwnedFd> {
        self.is_in_own_pid_namespace()
            .then(|| self.process.open())
            .flatten()
    }

    /// A descriptor of the container's first process, likewise.
    pub fn open_init(&self) -> Option<OwnedFd> {
        self.is_in_own_pid_namespace()
            .then(|| self.init?.open())
            .flatten()
    }

    /// Whether the numbers of its processes are numbers in the pid namespace of this process, too.
    pub fn is_in_own_pid_namespace(&self) -> bool {
        Namespaces::own().is_ok_and(|own| own.pid == self.namespace.pid)
    }

    /// Whether it is called so: by its id, or by the name of its container.
    pub fn is_called(&self, name: &str) -> bool {
        let container = self.what.container.as_ref();
        self.id.as_str() == name || container.is_some_and(|container| container.as_str() == name)
    }
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

fn file_name(id: &ContainerName) -> String {
    format!("{}.json", id.as_str())
}

/// A record that has no name of its own yet, locked.
struct Unfinished {
    name: String,
    file: OwnedFd,
}

impl Unfinished {
    fn create(dir: impl AsFd, path: &Path, record: &LiveRecord) -> Result<Self> {
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

impl Store {
    /// Makes known that this process serves a mount or attends to a container, until what is returned is
    /// dropped. A container must be locked ([`Container::lock`]) before, and until after.
    ///
    /// # Errors
    /// `ROFS`, `ACCESS` and the like if nothing can be written to the store, which is no reason not to
    /// mount; those of reading `/proc`.
    pub fn register(&self, what: LiveRequest) -> Result<LiveEntry> {
        let path = self.live_dir();
        let dir = open_or_make(&path)?;
        let mut record = LiveRecord {
            id: generated_name(0),
            process: ProcessId::own()?,
            namespace: Namespaces::own()?,
            started: Timestamp::now().to_rfc3339(),
            init: None,
            what,
        };
        let mut looks = 0;
        for attempt in 0..1000 {
            record.id = match &record.what.container {
                // The record of a process that is ending is in the way no longer than that takes.
                Some(name) if looks < LOOKS => name.clone(),
                _ => generated_name(attempt),
            };
            let is_container = record.what.container.as_ref() == Some(&record.id);
            if !is_container && self.containers_dir().join(record.id.as_str()).exists() {
                continue;
            }
            let unfinished = Unfinished::create(&dir, &path, &record)?;
            let place = file_name(&record.id);
            let none = AtFlags::empty();
            let linked = rustix::fs::linkat(&dir, &unfinished.name, &dir, &place, none);
            let unlinked = rustix::fs::unlinkat(&dir, &unfinished.name, none);
            match linked {
                Ok(()) => {
                    if let Err(errno) = unlinked
                        && errno != Errno::NOENT
                    {
                        log::debug!("cannot remove {}: {errno}", unfinished.name);
                    }
                    return Ok(LiveEntry {
                        record,
                        dir,
                        path,
                        file: unfinished.file,
                        owner: rustix::process::getpid(),
                    });
                }
                // Another process listed, and removed it before it was locked.
                Err(Errno::NOENT) => {}
                Err(Errno::EXIST) => {
                    if !remove_if_stale(&dir, &path, &place)? && is_container {
                        looks += 1;
                        std::thread::sleep(LOOK);
                    }
                }
                Err(errno) => return Err(errno).context("create", &path.join(place)),
            }
        }
        Err(ContainerError::NoFreeName.into())
    }

    /// What is live in this store, whatever namespace it is in, the oldest first. Stale records are
    /// removed.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn live(&self) -> Result<Vec<LiveRecord>> {
        let path = self.live_dir();
        let Some(dir) = open_if_there(&path)? else {
            return Ok(Vec::new());
        };
        let mut live = Vec::new();
        for entry in std::fs::read_dir(&path).context("list", &path)? {
            let name = entry.context("list", &path)?.file_name();
            // A name that is no text is none of ours.
            let Some(name) = name.to_str() else { continue };
            match read_record(&dir, &path, name) {
                Ok(record) => live.extend(record),
                Err(error) => log::warn!("a live record is passed over: {error}"),
            }
        }
        live.sort_by(|a, b| (&a.started, &a.id).cmp(&(&b.started, &b.id)));
        Ok(live)
    }

    /// What is live and called so, by its id or its container. A container has one record at most.
    ///
    /// # Errors
    /// As [`Store::live`].
    pub fn live_of(&self, name: &str) -> Result<Option<LiveRecord>> {
        let mut live = self.live()?.into_iter();
        Ok(live.find(|record| record.is_called(name)))
    }

    /// Whether something live has this id that is not in `containers/`: an image, or a container that goes
    /// with its process. No other container can be called so meanwhile.
    pub(crate) fn is_live_id(&self, name: &ContainerName) -> bool {
        let path = self.live_dir();
        let Ok(Some(dir)) = open_if_there(&path) else {
            return false;
        };
        match read_record(&dir, &path, &file_name(name)) {
            Ok(Some(record)) => record.what.temporary || record.what.container.is_none(),
            _ => false,
        }
    }
}

/// Opens the directory of live records. Stores of older versions have none.
fn open_or_make(path: &Path) -> Result<OwnedFd> {
    if let Some(dir) = open_if_there(path)? {
        return Ok(dir);
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context("create", path),
    }
    open_dir(path).context("open", path)
}

fn open_if_there(path: &Path) -> Result<Option<OwnedFd>> {
    match open_dir(path) {
        Err(Errno::NOENT) => Ok(None),
        opened => opened.context("open", path).map(Some),
    }
}

fn open_dir(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens the file of a record; `None` if it is gone, or is no file.
fn open_file(dir: &OwnedFd, path: &Path, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        opened => opened.context("open", &path.join(name)).map(Some),
    }
}

/// The record in a file; `None` if it is stale, in which case it is removed, or if it is no record.
fn read_record(dir: &OwnedFd, path: &Path, name: &str) -> Result<Option<LiveRecord>> {
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
fn remove_if_stale(dir: &OwnedFd, path: &Path, name: &str) -> Result<bool> {
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

/// A path as JSON: text, or bytes where it is none (UTF-8).
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum JsonPath {
    Text(String),
    Bytes(Vec<u8>),
}

fn write_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    let json = path.as_ref().map(|path| match path.to_str() {
        Some(text) => JsonPath::Text(text.to_owned()),
        None => JsonPath::Bytes(path.as_os_str().as_bytes().to_vec()),
    });
    json.serialize(to)
}

fn read_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let json = Option::<JsonPath>::deserialize(from)?;
    Ok(json.map(|json| match json {
        JsonPath::Text(text) => text.into(),
        JsonPath::Bytes(bytes) => OsString::from_vec(bytes).into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(tmp: &tempfile::TempDir) -> Store {
        Store::open(tmp.path().join("store")).unwrap()
    }

    fn mount(container: Option<&str>) -> LiveRequest {
        LiveRequest {
            container: container.map(|name| name.parse().unwrap()),
            target: Some("/mnt".into()),
            ..LiveRequest::of(
                LiveKind::Mount,
                &"image:1".parse().unwrap(),
                Digest::of(b""),
            )
        }
    }

    fn files(store: &Store) -> usize {
        std::fs::read_dir(store.live_dir()).unwrap().count()
    }

    #[test]
    fn a_record_is_there_as_long_as_its_entry() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let entry = store.register(mount(Some("c"))).unwrap();
        let live = store.live_of("c").unwrap().unwrap();
        assert_eq!(&live, entry.record());
        assert_eq!(live.id.as_str(), "c");
        assert_eq!(live.process, ProcessId::own().unwrap());
        assert!(live.open_process().is_some() && live.open_init().is_none());
        assert_eq!(files(&store), 1);
        drop(entry);
        assert!(store.live().unwrap().is_empty());
        assert_eq!(files(&store), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let entry = store.register(mount(Some("c"))).unwrap();
        let copy = to_json(entry.record());
        drop(entry);
        for name in ["c.json", ".new-1-0", "broken.json"] {
            let content = if name == "broken.json" {
                b"{"
            } else {
                &copy[..]
            };
            std::fs::write(store.live_dir().join(name), content).unwrap();
        }
        // A record in the way is removed as well, if it is stale.
        let entry = store.register(mount(Some("c"))).unwrap();
        assert_eq!(entry.record().id.as_str(), "c");
        assert_eq!(store.live().unwrap(), [entry.record().clone()]);
        assert_eq!(files(&store), 1);
    }

    #[test]
    fn an_update_is_seen_and_keeps_the_lock() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let mut entry = store.register(mount(None)).unwrap();
        let id = entry.record().id.clone();
        let init = ProcessId { pid: 1, start: 0 };
        entry.update(|record| record.init = Some(init)).unwrap();
        let live = store.live().unwrap();
        assert_eq!(live.len(), 1);
        assert_eq!((live[0].init, &live[0].id), (Some(init), &id));
        assert!(store.is_live_id(&id));
        assert_eq!(files(&store), 1);
    }

    #[test]
    fn an_id_that_is_taken_is_not_given_again() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let first = store.register(mount(Some("c"))).unwrap();
        let second = store.register(mount(Some("c"))).unwrap();
        assert_ne!(first.record().id, second.record().id);
        assert!(second.record().is_called("c"));
        assert_eq!(store.live().unwrap().len(), 2);
    }

    #[test]
    fn a_path_that_is_no_text_is_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let target = PathBuf::from(OsString::from_vec(b"/m\xff".to_vec()));
        let what = LiveRequest {
            target: Some(target.clone()),
            ..mount(None)
        };
        let _entry = store.register(what).unwrap();
        assert_eq!(store.live().unwrap()[0].what.target, Some(target));
    }

    #[test]
    fn a_store_without_the_directory_gets_one() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        std::fs::remove_dir(store.live_dir()).unwrap();
        assert!(store.live().unwrap().is_empty());
        let entry = store.register(mount(None)).unwrap();
        let mode = rustix::fs::stat(store.live_dir()).unwrap().st_mode;
        assert_eq!(mode & 0o7777, 0o700);
        drop(entry);
    }

    /// Listing removes what is not locked; a record must not be among that while it is made or changed.
    #[test]
    fn listing_loses_no_record_that_changes() {
        let tmp = tempfile::tempdir().unwrap();
        let store = store(&tmp);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    store.live().unwrap();
                }
            });
            for _ in 0..200 {
                let mut entry = store.register(mount(Some("c"))).unwrap();
                entry.update(|record| record.init = None).unwrap();
                assert!(
                    store
                        .live_dir()
                        .join(file_name(&entry.record().id))
                        .exists()
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

//! The file that tells `plyfs umount` which process serves a mount, and when that process has released the layers.
//!
//! The serving process holds an exclusive lock (flock(2)) on the file until it ends; the text of the file is its
//! process id and its state. The file is named after the device number of the mount, which every copy of the
//! mount has in every mount namespace. While the last process of a number still ends, the kernel may give the number to
//! a new mount, so each number has several names.
//!
//! The directory is `/run/plyfs` for the superuser of the machine; for others it is `plyfs` in `$XDG_RUNTIME_DIR` or
//! in `/run/user/UID`, else `/tmp/plyfs-UID`. Where none can be written to, the mount works without a file, and
//! `plyfs umount` does not wait for the process.
//!
//! # Invariants
//!
//! - Only the holder of the lock writes to a file or removes it.
//! - A file with a free lock is left from a process that was killed; the next user of the name takes it or removes it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::namespace;

/// How many processes of one device number can have a file at once.
const NAMES: u32 = 4;

/// The device number of a mount, as in /proc/self/mountinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device(u32, u32);

impl Device {
    /// The device of what is mounted on a path; `None` if the path is no mount point, or if the kernel does not say so
    /// (before Linux 5.8). This sends no request to a FUSE daemon: it may have ended, or not yet serve.
    pub(crate) fn mounted_on(path: &Path) -> Option<Self> {
        let do_not_ask = AtFlags::from_bits_retain(0x4000); // AT_STATX_DONT_SYNC
        let flags = do_not_ask | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let found = rustix::fs::statx(CWD, path, flags, StatxFlags::empty()).ok()?;
        let is_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        is_root.then_some(Self(found.stx_dev_major, found.stx_dev_minor))
    }

    /// As in the third field of /proc/self/mountinfo.
    pub(crate) fn in_mountinfo(self) -> String {
        format!("{}:{}", self.0, self.1)
    }

    fn names(self) -> impl Iterator<Item = String> {
        (0..NAMES).map(move |number| format!("{}.{number}", self.in_mountinfo()))
    }
}

/// What a serving process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    /// The file system is unmounted, and the process makes durable what was written.
    Ending,
}

impl State {
    /// All of one length, so that one text replaces another in a single write.
    fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Ending => "ending ",
        }
    }
}

/// The file of this process, with its lock.
#[derive(Debug)]
pub(crate) struct Serving {
    dir: OwnedFd,
    name: String,
    file: File,
}

impl Serving {
    /// Announces that this process serves the mount of a device. Without a directory to write to it does not.
    pub(crate) fn announce(device: Device) -> Option<Self> {
        let mut dirs = directories().into_iter();
        let found = dirs.find_map(|dir| match announce_in(&dir, device) {
            Ok(serving) => Some(serving),
            Err(errno) => {
                log::debug!(
                    "cannot keep the state of a mount in {}: {errno}",
                    dir.display()
                );
                None
            }
        });
        found.inspect(Self::take_over)
    }

    /// Writes the id of this process, which may be a child of the one that made the file.
    pub(crate) fn take_over(&self) {
        self.write(State::Serving);
    }

    /// Announces that the file system is gone and this process is about to end.
    pub(crate) fn ending(&self) {
        self.write(State::Ending);
    }

    fn write(&self, state: State) {
        let text = format!("{}\n{}\n", state.word(), std::process::id());
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0) {
            log::debug!("cannot write the state of a mount: {error}");
        }
    }

    /// Removes the file. The lock stays until this process has ended.
    pub(crate) fn end(self) {
        if let Err(errno) = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty()) {
            log::debug!("cannot remove the state of a mount: {errno}");
        }
        // The kernel closes the file and frees the lock when the process ends.
        std::mem::forget(self.file);
    }
}

fn announce_in(dir: &Path, device: Device) -> rustix::io::Result<Serving> {
    match rustix::fs::mkdir(dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let dir = open_directory(dir)?;
    for name in device.names() {
        if let Some(file) = take(&dir, &name)? {
            return Ok(Serving { dir, name, file });
        }
    }
    Err(Errno::BUSY)
}

/// Opens the file of a name and locks it; `None` if another process has the lock.
fn take(dir: &OwnedFd, name: &str) -> rustix::io::Result<Option<File>> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // A process that removed the file held the lock before: then this is a file without a name.
    if rustix::fs::fstat(&fd)?.st_nlink == 0 {
        return Ok(None);
    }
    rustix::fs::ftruncate(&fd, 0)?;
    Ok(Some(fd.into()))
}

/// A directory that only this user can write to.
fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&dir)?;
    let is_own = found.st_uid == rustix::process::geteuid().as_raw();
    match is_own && found.st_mode & 0o077 == 0 {
        true => Ok(dir),
        false => Err(Errno::PERM),
    }
}

/// Where the files of this user may be, the preferred directory first.
fn directories() -> Vec<PathBuf> {
    if namespace::is_real_root() {
        return vec!["/run/plyfs".into()];
    }
    let uid = outer_uid();
    let variable = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let variable = variable.filter(|path| path.is_absolute());
    let runtime = variable
        .into_iter()
        .chain([format!("/run/user/{uid}").into()]);
    let mut dirs: Vec<PathBuf> = runtime.map(|dir| dir.join("plyfs")).collect();
    dirs.push(format!("/tmp/plyfs-{uid}").into());
    dirs
}

/// The user id of this process outside its user namespace: inside, many users are root.
fn outer_uid() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let map = namespace::proc_text("/proc/self/uid_map").unwrap_or_default();
    let outer = map.lines().find_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside) = (fields.next()?.ok()?, fields.next()?.ok()?);
        let count = fields.next()?.ok()?;
        let offset = own.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    });
    outer.unwrap_or(own)
}

/// Another process that serves a mount.
#[derive(Debug)]
pub(crate) struct Server {
    dir: OwnedFd,
    name: String,
    file: File,
}

impl Server {
    /// The processes that have a file for a device. There may be several: see the head of this file.
    pub(crate) fn all_of(device: Device) -> Vec<Self> {
        let mut servers = Vec::new();
        for dir in open_directories() {
            servers.extend(device.names().filter_map(|name| Self::open(&dir, name)));
        }
        servers
    }

    /// The process of an id in this pid namespace.
    pub(crate) fn of_process(pid: u32) -> Option<Self> {
        open_directories().find_map(|dir| {
            let mut entries = rustix::fs::Dir::read_from(&dir).ok()?;
            entries.find_map(|entry| {
                let name = entry.ok()?.file_name().to_str().ok()?.to_owned();
                let server = Self::open(&dir, name)?;
                (server.read()?.1 == pid).then_some(server)
            })
        })
    }

    fn open(dir: &OwnedFd, name: String) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, &name, flags, Mode::empty()).ok()?;
        let dir = dir.try_clone().ok()?;
        let file = file.into();
        Some(Self { dir, name, file })
    }

    /// Whether the process has made durable what was written and released all locks. Removes what a killed process left.
    pub(crate) fn has_ended(&self) -> bool {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => false,
            // The lock cannot be asked for: do not wait.
            Err(_) => true,
            Ok(()) => {
                // The lock is this process's now. Another process may have the name by now only if the file has none.
                if rustix::fs::fstat(&self.file).is_ok_and(|found| found.st_nlink > 0) {
                    rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty()).ok();
                }
                true
            }
        }
    }

    /// Whether the process has noticed that the file system is gone, and makes durable what was written.
    pub(crate) fn is_ending(&self) -> bool {
        self.read().is_some_and(|(state, _)| state == State::Ending)
    }

    fn read(&self) -> Option<(State, u32)> {
        let mut buffer = [0; 64];
        let length = self.file.read_at(&mut buffer, 0).ok()?;
        parse(str::from_utf8(buffer.get(..length)?).ok()?)
    }
}

fn open_directories() -> impl Iterator<Item = OwnedFd> {
    let dirs = directories().into_iter();
    dirs.filter_map(|dir| open_directory(&dir).ok())
}

/// The text of a file: its state and its process.
fn parse(text: &str) -> Option<(State, u32)> {
    let mut lines = text.lines();
    let word = lines.next()?;
    let mut states = [State::Serving, State::Ending].into_iter();
    let state = states.find(|state| state.word() == word)?;
    Some((state, lines.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Device = Device(4000, 7);

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plyfs");
        (dir, path)
    }

    fn server(path: &Path, number: u32) -> Option<Server> {
        let name = format!("4000:7.{number}");
        Server::open(&open_directory(path).unwrap(), name)
    }

    #[test]
    fn a_server_is_seen_until_its_lock_is_free() {
        let (_kept, path) = directory();
        let serving = announce_in(&path, DEVICE).unwrap();
        serving.take_over();
        let seen = server(&path, 0).unwrap();
        assert_eq!(seen.read(), Some((State::Serving, std::process::id())));
        assert!(!seen.has_ended() && !seen.is_ending());
        serving.ending();
        assert!(!seen.has_ended() && seen.is_ending());
        // As when the process is killed: the file stays, and its lock is free.
        drop(serving);
        assert!(path.join("4000:7.0").exists());
        assert!(seen.has_ended());
        assert!(!path.join("4000:7.0").exists());
    }

    #[test]
    fn a_device_number_can_have_a_new_server_while_the_old_one_ends() {
        let (_kept, path) = directory();
        let old = announce_in(&path, DEVICE).unwrap();
        let new = announce_in(&path, DEVICE).unwrap();
        assert_eq!(
            (old.name.as_str(), new.name.as_str()),
            ("4000:7.0", "4000:7.1")
        );
        new.take_over();
        assert!(!server(&path, 1).unwrap().has_ended());
        // What the old one leaves is taken by the next.
        drop(old);
        assert_eq!(announce_in(&path, DEVICE).unwrap().name, "4000:7.0");
    }

    #[test]
    fn a_reader_does_not_remove_the_file_of_a_new_server() {
        let (_kept, path) = directory();
        let old = announce_in(&path, DEVICE).unwrap();
        let seen = server(&path, 0).unwrap();
        std::fs::remove_file(path.join("4000:7.0")).unwrap();
        drop(old);
        let new = announce_in(&path, DEVICE).unwrap();
        assert!(seen.has_ended());
        assert!(path.join(&new.name).exists());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;

        let (_kept, path) = directory();
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(announce_in(&path, DEVICE).unwrap_err(), Errno::PERM);
        let link = path.with_extension("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(announce_in(&link, DEVICE).is_err());
    }
}

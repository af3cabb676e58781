//! Containers: what was changed on top of an image, under a name.
//!
//! A container remembers the layers it was made on, so that it can be mounted again when the name
//! of its image has moved on. It is in use while a process holds its lock (flock(2) on its
//! directory); only then can it not be removed.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plyfs_format::override_stat;
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use crate::collect::Unneeded;
use crate::disk::{
    ImageHold, LayerPath, Staging, Store, discard, lock, read_record, seal, sweep, sync_dir,
};
use crate::error::{ContainerError, Context, Result};
use crate::image::{Image, root_layer};
use crate::values::{ContainerName, ContainerRecord, Digest, Ownership, Timestamp};

/// How often a container that seems to be in use is looked at again, and after how long.
const LOOKS: usize = 4;
const LOOK: Duration = Duration::from_millis(15);

/// A container in the store.
#[derive(Debug, Clone)]
pub struct Container {
    /// What is known of it.
    pub record: ContainerRecord,
    /// Its changes: the upper directory of a mount.
    pub upper: PathBuf,
    /// The work directory of a mount, on the same file system.
    pub work: PathBuf,
    /// The layers it stands on, bottom first.
    pub layers: Vec<LayerPath>,
    pub(crate) dir: PathBuf,
}

/// A container that goes with its last user.
#[derive(Debug)]
pub struct TemporaryContainer {
    container: Container,
    _staging: Staging,
    _image: ImageHold,
}

impl std::ops::Deref for TemporaryContainer {
    type Target = Container;

    fn deref(&self) -> &Container {
        &self.container
    }
}

/// Holds a container in use, until it is dropped in every process that has it.
#[derive(Debug)]
pub struct ContainerLock {
    _dir: OwnedFd,
}

impl ContainerRecord {
    fn new(image: &Image, ownership: Ownership) -> Self {
        Self {
            name: generated_name(0),
            image: image.name.clone(),
            manifest_digest: image.manifest_digest,
            diff_ids: image
                .layers
                .iter()
                .filter(|layer| !layer.is_stand_in())
                .map(|layer| layer.diff_id)
                .collect(),
            created: Timestamp::now().to_rfc3339(),
            ownership,
        }
    }
}

impl Container {
    fn at(dir: PathBuf, record: ContainerRecord, layers: Vec<LayerPath>) -> Self {
        Self {
            upper: dir.join("upper"),
            work: dir.join("work"),
            layers,
            record,
            dir,
        }
    }

    /// Takes the container into use. The lock goes along to children of fork(2), and not to
    /// programs that are executed.
    ///
    /// # Errors
    /// [`ContainerError::Busy`] if a process uses it, [`ContainerError::Unknown`] if it was
    /// removed meanwhile.
    pub fn lock(&self) -> Result<ContainerLock> {
        lock_container(&self.dir, &self.record.name)
    }
}

impl Store {
    /// Makes a container on an image. Without a name it gets one that is free and can be read.
    /// `ownership` is how the mount that uses it will keep owners.
    ///
    /// The upper directory gets mode and owner of the root of the image, since it is what a mount
    /// shows as its root.
    ///
    /// # Errors
    /// [`ContainerError::Exists`] if the name is taken.
    pub fn create_container(
        &self,
        name: Option<&ContainerName>,
        image: &Image,
        ownership: Ownership,
    ) -> Result<Container> {
        let staging = self.stage()?;
        let _shared = self.share()?;
        // It may have been removed since it was looked up; while it is held that cannot happen.
        let _image = self.hold(&image.manifest_digest)?;
        let named = name.is_some();
        let mut record = ContainerRecord::new(image, ownership);
        let made = make_dirs(&staging, image, ownership)?;
        for attempt in 0..1000 {
            record.name = match name {
                Some(name) => name.clone(),
                None => generated_name(attempt),
            };
            if self.is_live_id(&record.name) {
                if named {
                    return Err(ContainerError::Exists(record.name).into());
                } else {
                    continue;
                }
            }
            write_record(&staging, &made, &record)?;
            let place = self.containers_dir().join(record.name.as_str());
            match rustix::fs::rename(&made, &place) {
                Ok(()) => {
                    sync_dir(&self.containers_dir())?;
                    return self.load_container(record);
                }
                // The directory of a container is never empty, so none is replaced.
                Err(Errno::EXIST | Errno::NOTEMPTY) if !named => {}
                Err(Errno::EXIST | Errno::NOTEMPTY) => {
                    return Err(ContainerError::Exists(record.name).into());
                }
                Err(errno) => return Err(errno).context("create", &place),
            }
        }
        Err(ContainerError::NoFreeName.into())
    }

    /// Makes a container that goes when it is dropped; if the process dies first, the next process that
    /// works in the store removes it. Without a name it gets one that is free.
    ///
    /// # Errors
    /// As [`Store::create_container`].
    pub fn temporary_container(
        &self,
        name: Option<&ContainerName>,
        image: &Image,
        ownership: Ownership,
    ) -> Result<TemporaryContainer> {
        let staging = self.stage()?;
        let hold = self.hold(&image.manifest_digest)?;
        let mut record = ContainerRecord::new(image, ownership);
        record.name = match name {
            Some(name) if self.is_taken(name) => {
                return Err(ContainerError::Exists(name.clone()).into());
            }
            Some(name) => name.clone(),
            None => self.free_name()?,
        };
        let dir = make_dirs(&staging, image, ownership)?;
        write_record(&staging, &dir, &record)?;
        Ok(TemporaryContainer {
            container: Container::at(dir, record, image.layers.clone()),
            _staging: staging,
            _image: hold,
        })
    }

    /// A name that no container has, and nothing that is live.
    fn free_name(&self) -> Result<ContainerName> {
        let mut names = (0..1000).map(generated_name);
        let free = names.find(|name| !self.is_taken(name));
        free.ok_or(ContainerError::NoFreeName.into())
    }

    fn is_taken(&self, name: &ContainerName) -> bool {
        self.containers_dir().join(name.as_str()).exists() || self.is_live_id(name)
    }

    /// Finds a container.
    ///
    /// # Errors
    /// [`ContainerError::Unknown`] if there is none of that name; [`crate::BlobError::Missing`] if
    /// one of its layers is gone.
    pub fn container(&self, name: &ContainerName) -> Result<Container> {
        let path = self
            .containers_dir()
            .join(name.as_str())
            .join("container.json");
        if !path.exists() {
            return Err(ContainerError::Unknown(name.clone()).into());
        }
        self.load_container(read_record_of(&path, name.as_str())?)
    }

    fn load_container(&self, record: ContainerRecord) -> Result<Container> {
        let dir = self.containers_dir().join(record.name.as_str());
        let layers = self.layer_paths(&record.diff_ids)?;
        Ok(Container::at(dir, record, layers))
    }

    /// All containers, by name.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        let dir = self.containers_dir();
        let mut containers: Vec<ContainerRecord> = Vec::new();
        for entry in std::fs::read_dir(&dir).context("list", &dir)? {
            let entry = entry.context("list", &dir)?;
            let name = entry.file_name();
            let path = entry.path().join("container.json");
            match read_record_of(&path, &name.to_string_lossy()) {
                Ok(record) => containers.push(record),
                Err(error) => log::warn!("a container is passed over: {error}"),
            }
        }
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Removes a container with all that was changed in it. What it needed of its image stays until
    /// it is collected. It needs no free space, and no record that can be read.
    ///
    /// # Errors
    /// [`ContainerError::Busy`] while it is in use, [`ContainerError::Unknown`] if there is none.
    pub fn remove_container(&self, name: &ContainerName) -> Result<Unneeded> {
        let dir = self.container_dir(name)?;
        let _lock = lock_container(&dir, name)?;
        let record = read_record(&dir.join("container.json"));
        let unneeded = match record {
            Ok(record) => self.needed_by(&record),
            Err(error) => {
                // No reason to keep the container.
                log::warn!("{error}");
                Unneeded::default()
            }
        };
        sweep(&self.staging_dir())?;
        discard(&self.staging_dir(), &dir)?;
        sync_dir(&self.containers_dir())?;
        Ok(unneeded)
    }

    /// Whether a process uses a container.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn is_in_use(&self, name: &ContainerName) -> Result<bool> {
        match try_lock(&self.container_dir(name)?, name) {
            Ok(_) => Ok(false),
            Err(crate::Error::Container(ContainerError::Busy(_))) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The names of all containers, sorted, also of those with a damaged record.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn container_names(&self) -> Result<Vec<ContainerName>> {
        let dir = self.containers_dir();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dir).context("list", &dir)? {
            let name = entry.context("list", &dir)?.file_name();
            names.extend(
                name.to_str()
                    .and_then(|name| name.parse::<ContainerName>().ok()),
            );
        }
        names.sort();
        Ok(names)
    }

    /// Locks a container while something below it is repaired.
    pub(crate) fn lock_for_repair(&self, name: &ContainerName) -> Result<ContainerLock> {
        lock_container(&self.container_dir(name)?, name)
    }

    /// The directory of a container that is there.
    fn container_dir(&self, name: &ContainerName) -> Result<PathBuf> {
        let dir = self.containers_dir().join(name.as_str());
        if dir
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir())
        {
            Ok(dir)
        } else {
            Err(ContainerError::Unknown(name.clone()).into())
        }
    }
}

/// Locks the directory of a container. Who only looks whether it is in use has the lock for a moment, too.
fn lock_container(dir: &Path, name: &ContainerName) -> Result<ContainerLock> {
    for _ in 0..LOOKS {
        match try_lock(dir, name) {
            Err(crate::Error::Container(ContainerError::Busy(_))) => {
                std::thread::sleep(LOOK);
            }
            other => return other,
        }
    }
    try_lock(dir, name)
}

fn try_lock(path: &Path, name: &ContainerName) -> Result<ContainerLock> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(ContainerError::Unknown(name.clone()).into()),
        opened => opened.context("open", path)?,
    };
    match lock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Err(ContainerError::Busy(name.clone()).into()),
        locked => locked.context("lock", path)?,
    }
    // Between opening and locking it may have been removed, and even made again.
    let held = rustix::fs::fstat(&dir).context("examine", path)?;
    match rustix::fs::stat(path) {
        Ok(found) if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) => {
            Ok(ContainerLock { _dir: dir })
        }
        _ => Err(ContainerError::Unknown(name.clone()).into()),
    }
}

/// Makes the directories of a container, which are not at their place yet.
fn make_dirs(staging: &Staging, image: &Image, ownership: Ownership) -> Result<PathBuf> {
    let made = staging.path().join("container");
    for dir in [made.clone(), made.join("upper"), made.join("work")] {
        rustix::fs::mkdir(&dir, Mode::RWXU).context("create", &dir)?;
    }
    if let Some(layer) = root_layer(&image.layers) {
        copy_root(layer, &made.join("upper"), ownership)?;
    }
    Ok(made)
}

/// Reads the record in the directory of this name. A copy of another container's directory has a record that
/// leads to the upper directory of that one.
fn read_record_of(path: &Path, name: &str) -> Result<ContainerRecord> {
    let record: ContainerRecord = read_record(path)?;
    if record.name.as_str() == name {
        Ok(record)
    } else {
        Err(crate::Error::DamagedRecord {
            path: path.to_owned(),
            why: format!("it is the record of container {}", record.name),
        })
    }
}

fn write_record(staging: &Staging, dir: &Path, record: &ContainerRecord) -> Result<()> {
    let place = dir.join("container.json");
    staging.publish_file("container.json", &seal(record), &place)
}

/// Gives an upper directory what the root of the image has: mode, owner, and the record that says
/// otherwise.
fn copy_root(layer: &LayerPath, upper: &Path, ownership: Ownership) -> Result<()> {
    let source = OpenOptions::new()
        .read(true)
        .open(&layer.path)
        .context("open", &layer.path)?;
    let target = OpenOptions::new()
        .read(true)
        .open(upper)
        .context("open", upper)?;
    let stat = rustix::fs::fstat(&source).context("examine", &layer.path)?;
    let mut record = vec![0; override_stat::MAX_LEN];
    match rustix::fs::fgetxattr(&source, override_stat::XATTR, &mut record[..]) {
        Ok(len) => {
            let value = record.get(..len).unwrap_or_default();
            let set = XattrFlags::empty();
            rustix::fs::fsetxattr(&target, override_stat::XATTR, value, set)
                .context("set the owner of", upper)?;
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno).context("examine", &layer.path),
    }
    if ownership == Ownership::Real && layer.record.ownership == Ownership::Real {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&target, Some(uid), Some(gid)).context("change the owner of", upper)?;
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    rustix::fs::fchmod(&target, mode).context("change the mode of", upper)?;
    target.sync_all().context("sync", upper)
}

/// A name for a container that was given none: two words, and a number once they are taken.
pub(crate) fn generated_name(attempt: u32) -> ContainerName {
    const FIRST: [&str; 24] = [
        "amber", "ashen", "birch", "bright", "broad", "calm", "cedar", "clear", "copper", "dry",
        "early", "fair", "flat", "grey", "iron", "late", "light", "long", "mild", "pale", "plain",
        "quiet", "silver", "still",
    ];
    const SECOND: [&str; 24] = [
        "bay", "beam", "board", "brook", "cliff", "cove", "dune", "field", "ford", "glen", "grove",
        "heath", "hill", "lake", "marsh", "mill", "moor", "pass", "ply", "ridge", "shore", "stone",
        "vale", "wood",
    ];
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let seed = Digest::of(format!("{seed} {} {attempt}", std::process::id()).as_bytes());
    let number = |at: usize| seed.byte(at) as usize | (seed.byte(at + 1) as usize) << 8;
    let pick = |words: &[&'static str], at| {
        words
            .get(number(at) % words.len().max(1))
            .copied()
            .unwrap_or("ply")
    };
    let mut name = format!("{}-{}", pick(&FIRST, 0), pick(&SECOND, 2));
    if attempt > 3 {
        name = format!("{name}-{}", number(4));
    }
    ContainerName::generated(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_names() {
        for attempt in 0..20 {
            let name = generated_name(attempt);
            assert_eq!(name.as_str().parse(), Ok(name.clone()));
        }
    }
}

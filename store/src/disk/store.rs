//! The store on disk.
//!
//! ```text
//! STORE/                           mode 0700
//!   oci-layout                     marks an OCI image layout
//!   index.json                     one manifest descriptor for each image, named by its
//!                                  org.opencontainers.image.ref.name
//!   index.copy                     the same, sealed, for when index.json is damaged
//!   blobs/sha256/HEX               manifests, configurations and layers as they were imported
//!   layers/sha256/HEX/             a layer by its DiffID
//!     diff/                        the unpacked tree
//!     layer.json                   what is known of it: a LayerRecord
//!   containers/NAME/               container.json, upper/, work/; places.json while it runs
//!   empty/                         the root of images without layers; made when there is one
//!   staging/UNIQUE/                work in progress, locked while its process lives
//!   downloads/HEX                  what has come of a blob that is being pulled, locked meanwhile
//!   origins/HEX                    which repositories of registries have a blob
//!   live/ID.json                   a mount or a running container, locked while its process lives
//!   lock                           flock(2) for changes of index.json and of layer records
//! ```
//!
//! # Invariants
//!
//! - Blobs, layers and containers appear by one rename, complete, verified and synced; a process
//!   that finds one by its name may use it without asking further.
//! - A blob and a layer are on disk, durably, before an index names an image that needs them.
//! - The store is an OCI image layout for every other tool. Files that are not in the drawing
//!   belong to others and are let be.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::staging::{Staging, lock, sweep};
use crate::error::{Context, Error, Result};
use crate::oci::Index;
use crate::values::Digest;

/// What `oci-layout` says.
pub(crate) const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Directories of a store, in the order they are made.
const DIRS: [&str; 7] = [
    "layers",
    "layers/sha256",
    "blobs",
    "blobs/sha256",
    "containers",
    "mnt",
    "staging",
];

/// Files of a store.
const FILES: [&str; 4] = ["oci-layout", "index.json", "index.copy", "lock"];

/// Directories that a store of an older version does not have.
const LIVE: &str = "live";
const DOWNLOADS: &str = "downloads";
const ORIGINS: &str = "origins";
const LATER_DIRS: [&str; 3] = [LIVE, DOWNLOADS, ORIGINS];

/// A store of images, by its directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Holds the lock of the store until it is dropped.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: OwnedFd,
}

impl Store {
    /// Opens a store, and makes it first if there is none. The directory gets mode 0700.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if there is a directory with something else in it,
    /// [`Error::ForeignStore`] if it belongs to another user.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path).context("create", path)?;
            }
            _ => {}
        }
        let store = Self {
            root: path.canonicalize().context("open", path)?,
        };
        let whole = DIRS.iter().all(|dir| store.root.join(dir).is_dir());
        if !(whole && store.is_marked()) {
            store.make()?;
        }
        store.check_owner()?;
        Ok(store)
    }

    /// Opens a store that exists.
    ///
    /// # Errors
    /// [`Error::NoStore`] if nothing has been imported there yet, and those of [`Store::open`].
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let root = match path.canonicalize() {
            Ok(root) => root,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let path = path.to_owned();
                return Err(Error::NoStore { path });
            }
            Err(error) => return Err(error).context("open", path),
        };
        let store = Self { root };
        if !store.is_marked() {
            store.check_foreign()?;
            return Err(Error::NoStore { path: store.root });
        }
        store.check_owner()?;
        Ok(store)
    }

    /// The directory of the store, as an absolute path without links.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Whether it was made to its end: `oci-layout` comes last, and other layouts have no layers.
    fn is_marked(&self) -> bool {
        self.root.join("oci-layout").exists() && self.root.join("layers").is_dir()
    }

    /// Makes the store, or what is missing of it.
    fn make(&self) -> Result<()> {
        self.check_foreign()?;
        self.check_owner()?;
        let private = |path: &Path| match rustix::fs::mkdir(path, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            made => made.context("create", path),
        };
        for dir in DIRS.into_iter().chain(LATER_DIRS) {
            private(&self.root.join(dir))?;
        }
        let _lock = self.lock()?;
        if !self.index_path().exists() && !self.index_copy_path().exists() {
            self.write_index(&Index::empty())?;
        }
        let staging = Staging::create(&self.staging_dir())?;
        staging.publish_file("oci-layout", MARKER, &self.root.join("oci-layout"))
    }

    /// Refuses a directory with anything in it that does not belong to a store, or an image layout
    /// that is kept for another purpose.
    fn check_foreign(&self) -> Result<()> {
        let not_a_store = |why| Error::NotAStore {
            path: self.root.clone(),
            why,
        };
        let mut layout = false;
        for entry in std::fs::read_dir(&self.root).context("open", &self.root)? {
            let name = entry.context("list", &self.root)?.file_name();
            layout |= name == "oci-layout";
            let own = DIRS.iter().chain(&LATER_DIRS).any(|dir| name == *dir);
            if !own && !FILES.iter().any(|file| name == *file) {
                return Err(not_a_store(
                    "there is something else in that directory; choose an empty or a new one",
                ));
            }
        }
        if layout && !self.root.join("layers").is_dir() {
            return Err(not_a_store(
                "it is an OCI image layout; import from it instead",
            ));
        }
        Ok(())
    }

    /// Makes sure that the store is this user's, and closed to all others (CVE-2024-25621).
    fn check_owner(&self) -> Result<()> {
        let stat = rustix::fs::stat(&self.root).context("examine", &self.root)?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(Error::ForeignStore {
                path: self.root.clone(),
                owner: stat.st_uid,
                user,
            });
        }
        if stat.st_mode & 0o7777 != 0o700 {
            rustix::fs::chmod(&self.root, Mode::RWXU).context("change the mode of", &self.root)?;
        }
        Ok(())
    }

    /// An empty directory for a process to mount on in its own mount namespace. Nothing is ever
    /// kept in it.
    pub fn mount_point(&self) -> PathBuf {
        self.root.join("mnt")
    }

    pub(crate) fn staging_dir(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn live_dir(&self) -> PathBuf {
        self.root.join(LIVE)
    }

    pub(crate) fn downloads_dir(&self) -> PathBuf {
        self.root.join(DOWNLOADS)
    }

    pub(crate) fn origins_dir(&self) -> PathBuf {
        self.root.join(ORIGINS)
    }

    /// Makes a directory that a store of an older version does not have.
    pub(crate) fn make_dir_of_later_version(&self, dir: PathBuf) -> Result<PathBuf> {
        match rustix::fs::mkdir(&dir, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => made.context("create", &dir)?,
        }
        Ok(dir)
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.root.join("layers/sha256")
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Where a blob is, or would be.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_dir().join(digest.hex())
    }

    /// Where a layer is, or would be.
    pub(crate) fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layers_dir().join(diff_id.hex())
    }

    /// A directory to work in. What dead processes left is removed first.
    pub(crate) fn stage(&self) -> Result<Staging> {
        sweep(&self.staging_dir())?;
        Staging::create(&self.staging_dir())
    }

    /// Waits until no other process changes documents of the store.
    pub(crate) fn lock(&self) -> Result<StoreLock> {
        let path = self.root.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::open(&path, flags, mode).context("open", &path)?;
        lock(&file, FlockOperation::LockExclusive).context("lock", &path)?;
        Ok(StoreLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_store_is_made_once_and_closed_to_others() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a/store");
        assert!(matches!(
            Store::open_existing(&path),
            Err(Error::NoStore { .. })
        ));
        let store = Store::open(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(store.path()), 0o700);
        assert!(store.index().unwrap().manifests.is_empty());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Store::open_existing(&path).unwrap();
        assert_eq!(mode(store.path()), 0o700);
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let error = Store::open(path).unwrap_err();
            assert!(matches!(error, Error::NotAStore { .. }), "{error}");
            assert!(matches!(
                Store::open_existing(path),
                Err(Error::NotAStore { .. })
            ));
        };
        let home = tmp.path().join("home");
        fs::create_dir_all(home.join("documents")).unwrap();
        refused(&home);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        let layout = tmp.path().join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        fs::write(layout.join("oci-layout"), MARKER).unwrap();
        fs::write(layout.join("index.json"), "{}").unwrap();
        refused(&layout);
        let file = tmp.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(Store::open(&file).is_err());
    }

    #[test]
    fn a_store_that_was_half_made_is_finished() {
        let tmp = tempfile::tempdir().unwrap();
        for made in 0..DIRS.len() {
            let path = tmp.path().join(made.to_string());
            fs::create_dir(&path).unwrap();
            for dir in &DIRS[..made] {
                fs::create_dir_all(path.join(dir)).unwrap();
            }
            assert!(matches!(
                Store::open_existing(&path),
                Err(Error::NoStore { .. })
            ));
            assert!(Store::open(&path).unwrap().index().is_ok());
        }
    }
}

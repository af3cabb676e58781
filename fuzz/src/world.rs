//! A directory with files that no input may touch.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What the file outside holds. Nothing that an input leads to may show it.
pub(crate) const SECRET: &str = "the secret of the canary";

/// A name that hostile absolute paths use, which must never appear in the root of this machine.
pub(crate) const ESCAPE: &str = "/plyfs-fuzz-escaped";

/// A temporary directory with a canary in it.
pub(crate) struct World {
    tmp: TempDir,
    canary: Snapshot,
}

/// What must not change, by path.
pub(crate) type Snapshot = BTreeMap<PathBuf, String>;

impl World {
    /// In memory if there is a file system in memory, since most of the time goes to small files otherwise.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let tmp = tempfile::Builder::new()
            .prefix("plyfs-fuzz-")
            .tempdir_in(memory)
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let dir = tmp.path().join("canary");
        fs::create_dir_all(dir.join("dir")).unwrap();
        fs::write(dir.join("file"), SECRET).unwrap();
        fs::write(dir.join("dir/inner"), SECRET).unwrap();
        let canary = snapshot(&dir);
        Self { tmp, canary }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    /// Panics if anything outside has changed, or if there is more in the world than these names.
    pub(crate) fn check(&self, known: &[&str]) {
        assert_eq!(snapshot(&self.path("canary")), self.canary);
        assert!(fs::symlink_metadata(ESCAPE).is_err(), "{ESCAPE} exists");
        for entry in fs::read_dir(self.tmp.path()).unwrap() {
            let name = entry.unwrap().file_name();
            let is_known = name == "canary" || known.iter().any(|known| name == *known);
            assert!(is_known, "{} appeared outside", name.display());
        }
    }

    /// Panics if work in progress is left in a store.
    pub(crate) fn check_staging(&self, store: &str) {
        let staging = self.path(store).join("staging");
        let left: Vec<_> = fs::read_dir(staging).unwrap().collect();
        assert!(left.is_empty(), "work in progress is left: {left:?}");
    }
}

/// Types, modes, owners, links, times and contents of a tree.
pub(crate) fn snapshot(dir: &Path) -> Snapshot {
    let mut all = Snapshot::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = match fs::symlink_metadata(&path) {
            // A directory whose names an ordinary user may list but not follow.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
            stat => stat.unwrap(),
        };
        let content = match stat.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec(),
            kind if kind.is_file() => fs::read(&path).unwrap_or_default(),
            _ => Vec::new(),
        };
        if stat.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten();
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        }
        let facts = format!(
            "{:o} {}:{} {} links, {} bytes, {}.{} {}.{} {:?}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.nlink(),
            stat.size(),
            stat.mtime(),
            stat.mtime_nsec(),
            stat.ctime(),
            stat.ctime_nsec(),
            String::from_utf8_lossy(&content),
        );
        all.insert(path, facts);
    }
    all
}

//! A store of its own, and a place for images to import into it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use plyfs_store::fixture::ImageBuilder;

use super::tree::{Facts, facts_without};
use super::{plyfs, succeed};

/// A temporary directory with a store in it, which is made by the first import.
pub struct World {
    tmp: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self {
            tmp: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.tmp.path().join(below)
    }

    pub fn store(&self, below: &str) -> PathBuf {
        self.path("store").join(below)
    }

    /// The program, working in this store.
    pub fn plyfs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = plyfs([OsStr::new("--store"), self.store("").as_os_str()]);
        command.args(arguments);
        command
    }

    /// An import that leaves files of this user only, so that a test can look at all of them.
    pub fn import(&self, source: &str) -> Command {
        self.plyfs(["import", "--ownership", "override", source])
    }

    /// Writes an image as a layout in the directory `name`, and imports it as `name:test`.
    pub fn with_image(&self, name: &str, image: &ImageBuilder) {
        let source = self.layout(name, image);
        succeed(&mut self.import(&source));
    }

    /// Writes an image as a layout in the directory `name`, and says how to import it.
    pub fn layout(&self, name: &str, image: &ImageBuilder) -> String {
        let dir = self.path(name);
        image.write_oci(&dir, Some("test")).unwrap();
        format!("oci:{}:test", dir.display())
    }

    /// All that is in the store, but for what changes when it is only looked at: its lock, the
    /// times of directories, and live records, which a daemon may write after its mount is ready.
    pub fn snapshot(&self) -> BTreeMap<Vec<u8>, Facts> {
        let mut all = facts_without(&self.store(""), Some("live"));
        all.remove(&b"lock"[..]);
        for facts in all.values_mut() {
            if facts.kind == "directory" {
                facts.mtime = (0, 0);
            }
        }
        all
    }

    /// The names in a directory of the store, sorted.
    pub fn names(&self, below: &str) -> Vec<String> {
        names(&self.store(below))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Some of it may belong to subordinate ids.
        if self.store("").exists() {
            let removed = plyfs(["unshare", "rm", "-rf"]).arg(self.store("")).status();
            assert!(removed.is_ok() || std::thread::panicking());
        }
    }
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

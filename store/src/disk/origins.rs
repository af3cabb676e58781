//! Which repositories of registries are known to have a blob, so that a push to the same registry can mount it there
//! instead of sending it.
//!
//! `origins/HEX` has a repository on each line. It is a hint: a registry is asked, and a lost or damaged file costs
//! bytes of a push, no more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::store::Store;
use crate::error::{Context, Result};
use crate::values::Digest;

/// How many repositories are kept for a blob.
const KEPT: usize = 8;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 16 << 10;

impl Store {
    fn origins_path(&self, digest: &Digest) -> PathBuf {
        self.origins_dir().join(digest.hex())
    }

    /// Repositories that are known to have a blob, as `registry.example/path`.
    pub fn origins(&self, digest: &Digest) -> BTreeSet<String> {
        let path = self.origins_path(digest);
        let short = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= LONGEST);
        let text = match short {
            true => std::fs::read_to_string(&path).unwrap_or_default(),
            false => String::new(),
        };
        text.lines().map(str::to_owned).collect()
    }

    /// Remembers that a repository has these blobs.
    ///
    /// # Errors
    /// Those of writing; what is known already stays.
    pub fn add_origin<'d>(
        &self,
        repository: &str,
        blobs: impl IntoIterator<Item = &'d Digest>,
    ) -> Result<()> {
        let new = |digest: &&Digest| !self.origins(digest).contains(repository);
        let mut new = blobs.into_iter().filter(new).peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        let dir = self.make_dir_of_later_version(self.origins_dir())?;
        let staging = self.stage()?;
        for digest in new {
            let mut known = self.origins(digest);
            known.insert(repository.to_owned());
            while known.len() > KEPT {
                let other = known.iter().find(|other| *other != repository).cloned();
                known.remove(&other.unwrap_or_default());
            }
            let text: String = known.iter().map(|line| format!("{line}\n")).collect();
            let path = staging.path().join(digest.hex());
            // Not synced: it is a hint.
            std::fs::write(&path, text).context("write", &path)?;
            let place = dir.join(digest.hex());
            std::fs::rename(&path, &place).context("publish", &place)?;
        }
        Ok(())
    }

    /// Forgets where a blob came from that goes.
    pub(crate) fn forget_origins(&self, digest: &Digest) {
        let path = self.origins_path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                log::info!("cannot remove {}: {error}", path.display());
            }
            _ => {}
        }
    }
}

//! Files that get their name when they are complete.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::SaveError;
use crate::Result;
use crate::error::Context;
use crate::staging::sync_dir;

/// A file beside its place, removed unless it gets there.
pub(super) struct Unnamed {
    path: PathBuf,
    place: PathBuf,
    file: Option<File>,
    replace: bool,
}

impl Unnamed {
    /// Begins a file that is to be at `place`, where there is none.
    pub(super) fn create(place: &Path) -> Result<Self> {
        match place.symlink_metadata() {
            Ok(_) => Err(SaveError::Exists(place.to_owned()).into()),
            Err(_) => Self::begin(place, false),
        }
    }

    /// Begins a file that is to be at `place`, whatever is there.
    pub(super) fn replacing(place: &Path) -> Result<Self> {
        Self::begin(place, true)
    }

    fn begin(place: &Path, replace: bool) -> Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let path = place.with_file_name(format!(".{name}.plyfs-{}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .context("create", &path)?;
        Ok(Self {
            path,
            place: place.to_owned(),
            file: Some(file),
            replace,
        })
    }

    /// Fills it.
    pub(super) fn write(
        &mut self,
        fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
    ) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let mut out = BufWriter::with_capacity(super::BUFFER, file);
        fill(&mut out)?;
        out.flush().context("write", &self.place)?;
        out.get_ref().sync_all().context("write", &self.place)
    }

    /// Gives it its name.
    pub(super) fn publish(self) -> Result<()> {
        let rename = |flags| rustix::fs::renameat_with(CWD, &self.path, CWD, &self.place, flags);
        let renamed = match self.replace {
            true => rename(RenameFlags::empty()),
            false => match rename(RenameFlags::NOREPLACE) {
                // A file system that cannot; there was none a moment ago.
                Err(Errno::INVAL) => rename(RenameFlags::empty()),
                Err(Errno::EXIST) => return Err(SaveError::Exists(self.place.clone()).into()),
                renamed => renamed,
            },
        };
        renamed.context("write", &self.place)?;
        match self.place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            _ => sync_dir(Path::new(".")),
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        // Gone if it has its name.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

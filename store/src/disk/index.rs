//! The index of images, and its copy.
//!
//! `index.json` belongs to the OCI image layout, so it cannot have a seal: other tools rewrite it. `index.copy`
//! has the same content, sealed. Where the two differ, either another tool wrote the index, or it is damaged:
//!
//! - An index that cannot be parsed is damaged.
//! - One that differs from the copy in a few bytes and has its length is damaged, too. A tool that adds,
//!   removes or replaces an image changes a whole digest at least.
//!
//! # Invariants
//!
//! - The copy is written first. After a crash one of the two is whole, whichever was being written, so both can
//!   be overwritten in place where a full disk has no space for a new file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::document::read_document;
use super::seal::{Seal, seal_bytes, unseal};
use super::staging::Staging;
use super::store::Store;
use crate::error::{Context, Error, Result};
use crate::oci::{Index, index_of};
use crate::values::limits;

/// In how many bytes an index differs from its copy at most if it is damaged and not rewritten: far fewer than a
/// digest has.
const DAMAGED_BYTES: usize = 8;

/// The index, and what the comparison with its copy says.
pub(crate) struct ReadIndex {
    pub(crate) index: Index,
    pub(crate) state: IndexState,
}

/// What is known of `index.json` and `index.copy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IndexState {
    /// Both say the same.
    Whole,
    /// Another tool wrote the index after the copy was made.
    Foreign,
    /// There is no copy: an older version made the store.
    NoCopy,
    /// The copy is damaged.
    CopyDamaged,
    /// The index is damaged, and what the copy says counts.
    Damaged,
    /// There is no index, and what the copy says counts.
    Missing,
}

impl Store {
    pub(crate) fn index_copy_path(&self) -> PathBuf {
        self.path().join("index.copy")
    }

    /// The index of images. If it is damaged, that of the copy.
    pub(crate) fn index(&self) -> Result<Index> {
        static SAID: Once = Once::new();
        let read = self.read_index()?;
        let fault = match read.state {
            IndexState::Damaged => "damaged",
            IndexState::Missing => "missing",
            _ => return Ok(read.index),
        };
        SAID.call_once(|| {
            let path = self.index_path();
            log::warn!(
                "{} is {fault}; its copy is used, and \"plyfs fsck --repair\" writes it again",
                path.display()
            );
        });
        Ok(read.index)
    }

    /// Reads the index and its copy.
    ///
    /// # Errors
    /// [`Error::LostIndex`] if neither is whole, and those of open(2) and read(2) that say nothing of damage.
    pub(crate) fn read_index(&self) -> Result<ReadIndex> {
        let path = self.index_path();
        let main = read_document(&path, limits::DOCUMENT_BYTES);
        let parsed = main.and_then(|bytes| {
            let index = index_of(&bytes, &path.to_string_lossy())?;
            Ok((bytes, index))
        });
        let copy = match read_document(&self.index_copy_path(), limits::DOCUMENT_BYTES) {
            Ok(bytes) => Some(unseal(&bytes)),
            Err(error) if error.errno() == Some(Errno::NOENT) => None,
            Err(_) => Some(Seal::Broken),
        };
        let Some(Seal::Whole(copy)) = copy else {
            let state = match copy {
                None => IndexState::NoCopy,
                Some(_) => IndexState::CopyDamaged,
            };
            let (_, index) = parsed.map_err(|error| lost(&path, error))?;
            return Ok(ReadIndex { index, state });
        };
        match parsed {
            Ok((bytes, index)) if bytes == copy => Ok(ReadIndex {
                index,
                state: IndexState::Whole,
            }),
            Ok((bytes, index)) if !is_nearly(&bytes, &copy) => Ok(ReadIndex {
                index,
                state: IndexState::Foreign,
            }),
            // A disk that does not answer now may do so later.
            Err(error) if !may_be_damage(&error) => Err(error),
            parsed => Ok(ReadIndex {
                index: index_of(&copy, &self.index_copy_path().to_string_lossy())?,
                state: if is_missing(parsed.as_ref().err()) {
                    IndexState::Missing
                } else {
                    IndexState::Damaged
                },
            }),
        }
    }

    /// Changes the index of images, with the lock of the store.
    pub(crate) fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<()> {
        let _lock = self.lock()?;
        let ReadIndex { index, state } = self.read_index()?;
        let mut changed = index.clone();
        change(&mut changed);
        let is_whole = !matches!(state, IndexState::Damaged | IndexState::Missing);
        if changed == index && is_whole {
            Ok(())
        } else {
            self.write_index(&changed)
        }
    }

    /// Writes the index and its copy. The caller has the lock of the store, or makes the store.
    pub(crate) fn write_index(&self, index: &Index) -> Result<()> {
        let bytes = index.to_json();
        let copy = seal_bytes(bytes.clone());
        match self.replace_index(&bytes, &copy) {
            // Freeing space must not need any.
            Err(error) if is_full(&error) => {
                let (copy_place, place) = (self.index_copy_path(), self.index_path());
                // Before one of them is touched: both fit, or both stay.
                let copy_file = open_for(&copy_place, copy.len())?;
                let file = open_for(&place, bytes.len())?;
                overwrite(&copy_file, &copy_place, &copy)?;
                overwrite(&file, &place, &bytes)
            }
            written => written,
        }
    }

    fn replace_index(&self, bytes: &[u8], copy: &[u8]) -> Result<()> {
        let staging = Staging::create(&self.staging_dir())?;
        staging.publish_file("index.copy", copy, &self.index_copy_path())?;
        staging.publish_file("index.json", bytes, &self.index_path())
    }
}

/// Why there is no index, where there is no whole copy either.
fn lost(path: &Path, error: Error) -> Error {
    if !may_be_damage(&error) {
        return error;
    }
    let why = if is_missing(Some(&error)) {
        "is missing"
    } else {
        "is damaged"
    };
    log::debug!("{error}");
    let path = path.to_owned();
    Error::LostIndex { path, why }
}

fn is_missing(error: Option<&Error>) -> bool {
    error.and_then(Error::errno) == Some(Errno::NOENT)
}

/// Whether an index that cannot be read may be damaged. If this process lacks a right or memory it is not.
fn may_be_damage(error: &Error) -> bool {
    !matches!(
        error.errno(),
        Some(Errno::ACCESS | Errno::PERM | Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}

pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Whether two texts differ in a few bytes only.
fn is_nearly(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).filter(|(a, b)| a != b).count();
    one.len() == other.len() && differing <= DAMAGED_BYTES
}

/// Opens a file that is to be written in place, and takes the space that it needs besides what it has.
///
/// # Errors
/// `NOSPC` if there is none; nothing has changed then.
fn open_for(path: &Path, len: usize) -> Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .context("open", path)?;
    let old = file.metadata().context("examine", path)?.len();
    if len as u64 > old {
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, len as u64) {
            // Whether it would fit cannot be known here.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(Errno::NOSPC),
            taken => taken,
        }
        .context("write", path)?;
    }
    Ok(file)
}

/// Writes a file in place: blocks that it has need no space. Spaces fill it up to its old length until it is cut,
/// so that a reader meanwhile finds valid JSON.
fn overwrite(file: &File, path: &Path, bytes: &[u8]) -> Result<()> {
    let old = file.metadata().context("examine", path)?.len();
    let old = usize::try_from(old)
        .unwrap_or(0)
        .min(limits::DOCUMENT_BYTES as usize);
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().max(old), b' ');
    file.write_all_at(&padded, 0).context("write", path)?;
    file.set_len(bytes.len() as u64).context("write", path)?;
    file.sync_all().context("sync", path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn world() -> (tempfile::TempDir, Store) {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(tmp.path().join("store")).unwrap();
        (tmp, store)
    }

    fn state(store: &Store) -> IndexState {
        store.read_index().unwrap().state
    }

    #[test]
    fn a_damaged_index_is_read_from_its_copy() {
        let (_tmp, store) = world();
        assert_eq!(state(&store), IndexState::Whole);
        let whole = fs::read(store.index_path()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(store.index_path(), flipped).unwrap();
            assert_eq!(state(&store), IndexState::Damaged, "bit {bit}");
        }
        fs::remove_file(store.index_path()).unwrap();
        assert_eq!(state(&store), IndexState::Missing);
        store.change_index(|_| {}).unwrap();
        assert_eq!(fs::read(store.index_path()).unwrap(), whole);
    }

    #[test]
    fn a_damaged_copy_takes_nothing_away() {
        let (_tmp, store) = world();
        let whole = fs::read(store.index_copy_path()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(store.index_copy_path(), flipped).unwrap();
            assert_eq!(state(&store), IndexState::CopyDamaged, "bit {bit}");
        }
    }

    #[test]
    fn what_another_tool_writes_counts() {
        let (_tmp, store) = world();
        fs::write(store.index_path(), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        assert_eq!(state(&store), IndexState::Foreign);
        fs::remove_file(store.index_copy_path()).unwrap();
        assert_eq!(state(&store), IndexState::NoCopy);
    }

    #[test]
    fn an_index_is_overwritten_in_place() {
        let (_tmp, store) = world();
        for bytes in [&b"{}"[..], b"longer than before", b""] {
            let path = store.index_path();
            let file = open_for(&path, bytes.len()).unwrap();
            overwrite(&file, &path, bytes).unwrap();
            assert_eq!(fs::read(store.index_path()).unwrap(), bytes);
        }
    }
}

//! Writing a layer: entries in, a compressed archive and its two digests out.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use flate2::write::GzEncoder;
use plyfs_format::names::is_overlay_record;
use plyfs_format::whiteout;

use crate::disk::{Staging, Store};
use crate::error::{CommitError, Context, Result};
use crate::oci::Compression;
use crate::tar;
use crate::tar::Kind;
use crate::values::{Digest, Hashed, Timestamp};

/// The zstd level: that of the command, and of Buildah.
const ZSTD_LEVEL: i32 = 3;

/// How much of the archive is gathered before it is hashed and compressed, in bytes.
const BUFFER: usize = 128 << 10;

/// One entry of a layer that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// Its path below the root, without a slash at either end; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub content: EntryContent,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of its content.
    pub mtime: Timestamp,
    /// Extended attributes. Records of overlays are left out.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryContent {
    /// A directory.
    Dir,
    /// A regular file of so many bytes.
    File(u64),
    /// Another name for the file that an earlier entry with this path made.
    Link(Vec<u8>),
    /// A symbolic link that leads there.
    Symlink(Vec<u8>),
    /// A fifo.
    Fifo,
    /// A character device: major and minor number.
    Char(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    /// Nothing: what the layers below have there is removed.
    Whiteout,
    /// A directory of which nothing in the layers below is shown. Its own entry comes before.
    Opaque,
}

/// Writes a layer that is to be committed.
pub struct LayerWriter {
    pub(super) staging: Staging,
    path: PathBuf,
    archive: tar::Writer<BufWriter<Hashed<Encoder>>>,
    compression: Compression,
}

/// A layer that is written.
pub(super) struct WrittenLayer {
    pub(super) diff_id: Digest,
    /// Of the blob.
    pub(super) digest: Digest,
    /// Of the blob, in bytes.
    pub(super) size: u64,
    pub(super) compression: Compression,
}

/// The name of the blob in the staging directory.
pub(super) const BLOB: &str = "commit";

enum Encoder {
    Plain(Hashed<File>),
    Gzip(Box<GzEncoder<Hashed<File>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Hashed<File>>>),
}

impl Encoder {
    fn new(file: File, compression: Compression) -> io::Result<Self> {
        let file = Hashed::new(file);
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => {
                // Without a name and a time in it, so that the same archive makes the same blob.
                let level = flate2::Compression::default();
                Self::Gzip(Box::new(GzEncoder::new(file, level)))
            }
            Compression::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    fn finish(self) -> io::Result<Hashed<File>> {
        match self {
            Self::Plain(file) => Ok(file),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What is left in a compressor comes out at the end.
        Ok(())
    }
}

impl Store {
    /// Begins a layer. It is of no use to anybody before it is committed; if it is dropped, or the
    /// process dies, nothing of it stays.
    ///
    /// # Errors
    /// If no file can be made for it.
    pub fn layer_writer(&self, compression: Compression) -> Result<LayerWriter> {
        let staging = self.stage()?;
        let path = staging.path().join(BLOB);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .context("create", &path)?;
        let encoder = Encoder::new(file, compression).context("compress to", &path)?;
        let buffer = BufWriter::with_capacity(BUFFER, Hashed::new(encoder));
        Ok(LayerWriter {
            staging,
            path,
            archive: tar::Writer::new(buffer),
            compression,
        })
    }
}

impl LayerWriter {
    /// Adds an entry, with the data of a file. The same entries in the same order make the same
    /// layer.
    ///
    /// # Errors
    /// [`CommitError::Name`] for a name that would be taken for a whiteout, and those of reading
    /// the data and writing the archive.
    pub fn append(&mut self, entry: &LayerEntry, data: &mut dyn Read) -> Result<()> {
        check_names(&entry.path)?;
        let entry = in_archive(entry);
        let appended = self.archive.append(&entry, data);
        appended.context("write the layer to", &self.path)
    }

    /// Ends the archive and its file, and makes that durable.
    pub(super) fn finish(self) -> Result<(Staging, WrittenLayer)> {
        let ended = || -> io::Result<_> {
            let archive = self.archive.finish()?;
            let archive = archive
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            let (encoder, diff_id, _) = archive.finish();
            let (file, digest, size) = encoder.finish()?.finish();
            file.sync_all()?;
            Ok(WrittenLayer {
                diff_id,
                digest,
                size,
                compression: self.compression,
            })
        };
        let written = ended().context("write the layer to", &self.path)?;
        Ok((self.staging, written))
    }
}

/// Refuses what an archive would say something else with.
fn check_names(path: &[u8]) -> std::result::Result<(), CommitError> {
    let mut names = path.split(|byte| *byte == b'/');
    if names.any(|name| name.starts_with(whiteout::PREFIX)) {
        Err(CommitError::Name(path.to_vec()))
    } else {
        Ok(())
    }
}

/// The entry as archives have it.
fn in_archive(entry: &LayerEntry) -> tar::Entry {
    let mut path = entry.path.clone();
    let (kind, link, size) = match &entry.content {
        EntryContent::Dir => (Kind::Dir, &[][..], 0),
        EntryContent::File(size) => (Kind::File, &[][..], *size),
        EntryContent::Link(target) => (Kind::Link, &target[..], 0),
        EntryContent::Symlink(target) => (Kind::Symlink, &target[..], 0),
        EntryContent::Fifo => (Kind::Fifo, &[][..], 0),
        EntryContent::Char(major, minor) => (Kind::Char(*major, *minor), &[][..], 0),
        EntryContent::Block(major, minor) => (Kind::Block(*major, *minor), &[][..], 0),
        EntryContent::Whiteout | EntryContent::Opaque => (Kind::File, &[][..], 0),
    };
    match &entry.content {
        EntryContent::Dir if path.is_empty() => path.extend_from_slice(b"./"),
        EntryContent::Dir => path.push(b'/'),
        EntryContent::Opaque => {
            path.push(b'/');
            path.extend_from_slice(whiteout::OPAQUE);
        }
        EntryContent::Whiteout => {
            let name = path.iter().rposition(|byte| *byte == b'/');
            let name = name.map_or(0, |slash| slash + 1);
            path.splice(name..name, whiteout::PREFIX.iter().copied());
        }
        _ => {}
    }
    let mut xattrs = entry.xattrs.clone();
    xattrs.retain(|(name, _)| !is_overlay_record(name));
    xattrs.sort();
    tar::Entry {
        path,
        kind,
        link: link.to_vec(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        size,
        sparse: false,
        xattrs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, content: EntryContent) -> LayerEntry {
        LayerEntry {
            path: path.as_bytes().to_vec(),
            content,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: Timestamp::from_seconds(3),
            xattrs: vec![
                (b"user.overlay.origin".to_vec(), b"x".to_vec()),
                (b"user.note".to_vec(), b"y".to_vec()),
                (b"security.capability".to_vec(), b"z".to_vec()),
            ],
        }
    }

    #[test]
    fn entries_have_the_names_of_the_specification() {
        let path = |path, content| String::from_utf8(in_archive(&entry(path, content)).path);
        for (name, content, expected) in [
            ("", EntryContent::Dir, "./"),
            ("a/b", EntryContent::Dir, "a/b/"),
            ("a/b", EntryContent::File(1), "a/b"),
            ("b", EntryContent::Whiteout, ".wh.b"),
            ("a/b", EntryContent::Whiteout, "a/.wh.b"),
            ("a/b", EntryContent::Opaque, "a/b/.wh..wh..opq"),
        ] {
            assert_eq!(path(name, content).unwrap(), expected);
        }
        let xattrs = in_archive(&entry("a", EntryContent::Fifo)).xattrs;
        let names: Vec<_> = xattrs.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, [&b"security.capability"[..], b"user.note"]);
    }

    #[test]
    fn a_name_that_would_remove_another_is_refused() {
        for path in [".wh.a", "a/.wh.b", ".wh.a/b", ".wh..wh..opq"] {
            let error = check_names(path.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
        check_names(b"a/.wh/wh.b").unwrap();
    }
}

//! `plyfs commit`: the changes of a container become a layer.
//!
//! The overlay of the container is opened in this process, so that what is written to the layer is
//! what a mount shows: renamed directories with all that is in them, files whose data is still in a
//! lower layer, owners and devices that are kept in attributes. Times of files are theirs;
//! `SOURCE_DATE_EPOCH` bounds those that the image has of its own making.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;
use plyfs_fs::types::Seek;
use plyfs_fs::types::{Attr, Caller, FileKind};
use plyfs_fs::{Errno, Overlay};
use plyfs_store::{
    CommitRequest, Compression, Container, EntryContent, LayerEntry, LayerWriter, Silent, Store,
    Timestamp,
};

use super::shared::changes::{self, Change, Comparison, Names, cannot};
use super::shared::progress::Line;
use crate::error::{CliError, Result};
use crate::{image_mount, output, storage};

/// Make an image of a container: its changes become a layer on top of its image
///
/// The same changes make the same layer. With SOURCE_DATE_EPOCH in the environment, the image is said
/// to be made then.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// What the image is for
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// The author of the image
    #[arg(short, long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Change how the image is run, by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// How to compress the layer
    #[arg(long, value_enum, default_value = "gzip")]
    pub(crate) compression: CompressionArg,
    /// The container; it must not be mounted
    pub(crate) container: String,
    /// The name of the new image
    #[arg(value_name = "IMAGE[:TAG]")]
    pub(crate) image: String,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CompressionArg {
    Gzip,
    Zstd,
    None,
}

/// Attributes that have a meaning on this machine only.
const OF_THIS_MACHINE: [&[u8]; 3] = [b"security.selinux", b"security.evm", b"security.ima"];

/// The size from which a file is searched for holes, in bytes. Smaller ones are read faster.
const WITHOUT_HOLES: u64 = 256 << 10;

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Makes an image of a container and prints its name.
pub(crate) fn commit(args: &CommitArgs, store: Option<&Path>) -> Result {
    let request = CommitRequest {
        author: args.author.clone(),
        message: args.message.clone(),
        created: now()?,
        changes: args
            .change
            .iter()
            .map(|change| change.parse().map_err(CliError::new))
            .collect::<Result<_>>()?,
        ..CommitRequest::new(
            args.image.parse().map_err(CliError::new)?,
            storage::ownership_here(),
        )
    };
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    let store = Store::open_existing(location)?;
    let container = image_mount::existing_container(&store, &args.container)?;
    // A container that is mounted changes while it is read.
    let _lock = image_mount::lock(&store, &container)?;
    image_mount::refuse_mounted(&container)?;
    image_mount::remove_places(&store, &container)?;
    let request = CommitRequest {
        // In the namespace, more may be possible than outside.
        ownership: storage::ownership_here(),
        ..request
    };
    let compression = match args.compression {
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Zstd => Compression::Zstd,
        CompressionArg::None => Compression::None,
    };
    let line = Line::new("committing");
    let layer = layer(&store, &container, compression, &line)?;
    line.step("making the image");
    let committed = store.commit(&container.record, layer, &request, &Silent)?;
    drop(line);
    output::write(&format!("{}\n", committed.name))
}

/// The present, or `SOURCE_DATE_EPOCH` if that is earlier.
fn now() -> Result<Timestamp> {
    let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(Timestamp::now());
    };
    let epoch = epoch.to_str().and_then(|text| text.parse().ok());
    let epoch = epoch
        .ok_or_else(|| CliError::new("SOURCE_DATE_EPOCH is not a number of seconds since 1970"))?;
    Ok(Timestamp::now().min(Timestamp::from_seconds(epoch)))
}

/// Writes the layer of a container.
fn layer(
    store: &Store,
    container: &Container,
    compression: Compression,
    line: &Line,
) -> Result<LayerWriter> {
    let (merged, mut changes) = Comparison::open(container, true)?.changes()?;
    changes::add_links(&merged, &mut changes)?;
    let mut layer = Layer {
        writer: store.layer_writer(compression)?,
        merged: &merged,
        line,
        links: HashMap::new(),
    };
    layer.present(&Names::new(), merged.root(), false)?;
    layer.write(&changes)?;
    Ok(layer.writer)
}

/// A layer in the making.
struct Layer<'o> {
    writer: LayerWriter,
    merged: &'o Overlay,
    line: &'o Line,
    /// By inode number, the first path of each file with several names.
    links: HashMap<u64, Vec<u8>>,
}

impl Layer<'_> {
    fn write(&mut self, changes: &BTreeMap<Names, Change>) -> Result {
        for (names, change) in changes {
            match change.entry {
                Some(entry) => self.present(names, entry.id, change.hides)?,
                // Its directory says so.
                None if change.hidden => {}
                None => self.mark(names, EntryContent::Whiteout)?,
            }
        }
        Ok(())
    }

    /// Writes a whiteout or an opaque marker, which change what the layers below show.
    fn mark(&mut self, names: &Names, content: EntryContent) -> Result {
        let entry = LayerEntry {
            path: path(names),
            content,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Vec::new(),
        };
        Ok(self.writer.append(&entry, &mut io::empty())?)
    }

    /// Writes what the container shows under a name; `hides` says that it is a directory without
    /// anything of the image's.
    fn present(&mut self, names: &Names, id: u64, hides: bool) -> Result {
        let attr = self.merged.getattr(id);
        let attr = attr.map_err(|errno| cannot("examine", names, errno))?;
        let Some(content) = self.content(names, id, &attr)? else {
            log::info!("left out of the image: {}, a socket", names_shown(names));
            return Ok(());
        };
        let xattrs = match content {
            // They are those of the first name.
            EntryContent::Link(_) => Vec::new(),
            _ => self
                .xattrs(id)
                .map_err(|errno| cannot("read attributes of", names, errno))?,
        };
        let entry = LayerEntry {
            path: path(names),
            content,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            mtime: Timestamp {
                seconds: attr.mtime.secs,
                nanoseconds: attr.mtime.nanos,
            },
            xattrs,
        };
        let mut data = Data {
            merged: self.merged,
            line: self.line,
            id,
            offset: 0,
            size: attr.size,
            zeros_to: 0,
            data_to: 0,
            fault: None,
        };
        let appended = self.writer.append(&entry, &mut data);
        if let Some(errno) = data.fault {
            return Err(cannot("read", names, errno));
        }
        appended?;
        match hides {
            true => self.mark(names, EntryContent::Opaque),
            false => Ok(()),
        }
    }

    /// What an entry is; nothing for what no archive holds.
    fn content(&mut self, names: &Names, id: u64, attr: &Attr) -> Result<Option<EntryContent>> {
        if !attr.kind.is_dir() && attr.nlink > 1 {
            match self.links.get(&attr.ino) {
                Some(first) => return Ok(Some(EntryContent::Link(first.clone()))),
                None => drop(self.links.insert(attr.ino, path(names))),
            }
        }
        let (major, minor) = (attr.rdev.major, attr.rdev.minor);
        Ok(Some(match attr.kind {
            FileKind::Regular => EntryContent::File(attr.size),
            FileKind::Directory => EntryContent::Dir,
            FileKind::Symlink => {
                let target = self.merged.readlink(id);
                let target = target.map_err(|errno| cannot("read", names, errno))?;
                EntryContent::Symlink(target)
            }
            FileKind::Fifo => EntryContent::Fifo,
            FileKind::Char => EntryContent::Char(major, minor),
            FileKind::Block => EntryContent::Block(major, minor),
            FileKind::Socket => return Ok(None),
        }))
    }

    fn xattrs(&self, id: u64) -> Result<Xattrs, Errno> {
        // Shown all of them, as the superuser is.
        let superuser = Caller {
            uid: 0,
            gid: 0,
            pid: 0,
            umask: 0,
        };
        let names = match self.merged.listxattr(&superuser, id) {
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            names => names?,
        };
        let mut xattrs = Vec::new();
        for name in names.split(|byte| *byte == 0) {
            if name.is_empty() || OF_THIS_MACHINE.contains(&name) {
                continue;
            }
            match self.merged.getxattr(id, OsStr::from_bytes(name)) {
                Err(Errno::NODATA) => {}
                value => xattrs.push((name.to_vec(), value?)),
            }
        }
        Ok(xattrs)
    }
}

/// The data of a file, as the container shows it.
struct Data<'o> {
    merged: &'o Overlay,
    line: &'o Line,
    id: u64,
    offset: u64,
    /// In bytes.
    size: u64,
    /// A hole reaches to here if this is beyond the offset, and data otherwise to `data_to`.
    zeros_to: u64,
    data_to: u64,
    /// Why it cannot be read, to be told from why the layer cannot be written.
    fault: Option<Errno>,
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.next(buffer) {
            Ok(count) => {
                self.offset += count as u64;
                self.line.add(count as u64);
                Ok(count)
            }
            Err(errno) => {
                self.fault = Some(errno);
                Err(errno.into())
            }
        }
    }
}

impl Data<'_> {
    /// Reads data, or makes the zeros of a hole, which the disk need not look for.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.offset >= self.zeros_to.max(self.data_to) && self.size >= WITHOUT_HOLES {
            self.seek()?;
        }
        let zeros = self.zeros_to.min(self.size).saturating_sub(self.offset);
        if zeros == 0 {
            return self.merged.read(self.id, self.offset, buffer);
        }
        let count = usize::try_from(zeros).map_or(buffer.len(), |zeros| zeros.min(buffer.len()));
        buffer.get_mut(..count).unwrap_or_default().fill(0);
        Ok(count)
    }

    /// Finds out what is at the offset (lseek(2)).
    fn seek(&mut self) -> Result<(), Errno> {
        self.zeros_to = match self.merged.seek(self.id, self.offset, Seek::Data) {
            Ok(data) => data,
            // A hole to the end.
            Err(Errno::NXIO) => u64::MAX,
            // This file system knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.data_to = u64::MAX;
                return Ok(());
            }
            Err(errno) => return Err(errno),
        };
        if self.zeros_to == self.offset {
            self.data_to = match self.merged.seek(self.id, self.offset, Seek::Hole) {
                Err(Errno::NXIO) => u64::MAX,
                hole => hole?,
            };
        }
        Ok(())
    }
}

/// The path of an entry in the archive.
fn path(names: &Names) -> Vec<u8> {
    let mut path = changes::path_of(names);
    path.drain(..path.len().min(1));
    path
}

fn names_shown(names: &Names) -> String {
    output::plain(&String::from_utf8_lossy(&changes::path_of(names)))
}

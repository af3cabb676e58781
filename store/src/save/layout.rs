use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::parts::{Parts, copy_blob};
use super::target::{Directory, Unnamed};
use crate::disk::{Content, MARKER, blob_digest};
use crate::error::{Context, Result, SaveError};
use crate::oci::{Descriptor, Index, MANIFEST, REF_NAME, index_of};
use crate::source::{Source, is_marker};
use crate::values::{Digest, limits};

/// Adds an image to a layout, which is made if there is none.
pub(super) fn save(parts: &Parts<'_>, target: &Source) -> Result<()> {
    let mut layout = Layout::open(&target.path)?;
    layout.make_blobs()?;
    let blobs = layout.blobs.last().unwrap_or(&layout.top);
    for (digest, bytes) in parts.documents() {
        if !has_blob(parts, blobs, &digest, bytes.len() as u64)? {
            write(blobs, &digest.hex(), bytes)?;
        }
    }
    for layer in parts.layers() {
        if has_blob(parts, blobs, &layer.digest, layer.size)? {
            continue;
        }
        let name = layer.digest.hex();
        let place = blobs.path_of(&name);
        let mut file = Unnamed::replacing(blobs, &name)?;
        file.write(|out| {
            copy_blob(parts, layer, |blob| {
                io::copy(blob, out).map(drop).context("write", &place)
            })
        })?;
        file.publish()?;
    }
    if !layout.has_marker() {
        write(&layout.top, "oci-layout", MARKER)?;
    }
    add(parts, target, &layout.top)?;
    layout.keep();
    Ok(())
}

/// Whether a file of the layout is the blob of this digest. Other programs and disks write there
/// too, so its name says nothing.
fn has_blob(parts: &Parts<'_>, blobs: &Directory, digest: &Digest, size: u64) -> Result<bool> {
    let label = blobs.path_of(digest.hex());
    let file = match blobs.file(&digest.hex()) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(false),
        Err(errno) => {
            log::info!(
                "replacing {}, which cannot be opened: {errno}",
                label.display()
            );
            return Ok(false);
        }
    };
    let metadata = file.metadata().context("examine", &label)?;
    if metadata.is_file() && metadata.len() == size {
        let content = Content::whole(file, size);
        let watch = |_| !parts.told.progress.interrupted();
        match blob_digest(&content, &label.to_string_lossy(), &watch) {
            Ok(actual) if actual == *digest => return Ok(true),
            Err(error @ crate::Error::Interrupted) => return Err(error),
            Err(error) => log::info!("{error}"),
            Ok(_) => {}
        }
    }
    log::info!("replacing {}, which is damaged", label.display());
    Ok(false)
}

/// Adds the image to the index, in place of another of its name.
fn add(parts: &Parts<'_>, target: &Source, top: &Directory) -> Result<()> {
    let path = top.path_of("index.json");
    let mut index = match top.file("index.json").context("open", &path)? {
        Some(file) => index_of(&read(file, &path)?, &path.to_string_lossy())?,
        None => Index::empty(),
    };
    let descriptor = named(parts, target)?;
    index
        .manifests
        .retain(|one| one.ref_name() != descriptor.ref_name());
    index.manifests.push(descriptor);
    write(top, "index.json", &index.to_json())
}

/// Reads a small file.
fn read(file: File, path: &Path) -> Result<Vec<u8>> {
    let len = file.metadata().context("examine", path)?.len();
    let content = Content::whole(file, len);
    Ok(content.read_all(&path.to_string_lossy(), limits::DOCUMENT_BYTES)?)
}

/// The descriptor of the manifest under its name in the layout.
pub(super) fn named(parts: &Parts<'_>, target: &Source) -> Result<Descriptor> {
    let own = &parts.descriptor;
    let mut descriptor = Descriptor::new(&own.media_type, own.digest, own.size);
    if descriptor.media_type.is_empty() {
        descriptor.media_type = MANIFEST.to_owned();
    }
    let name = (REF_NAME.to_owned(), parts.ref_name(target)?);
    descriptor.annotations = Some(BTreeMap::from([name]));
    descriptor.platform = own.platform.clone();
    Ok(descriptor)
}

/// Writes a small file, in place of what has its name.
fn write(dir: &Directory, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = Unnamed::replacing(dir, name)?;
    let place = dir.path_of(name);
    file.write(|out| out.write_all(bytes).context("write", &place))?;
    file.publish()
}

/// The directories of a layout; those that were made go if the image does not come.
struct Layout {
    top: Directory,
    /// `blobs`, and `sha256` in it.
    blobs: Vec<Directory>,
    /// Where the layout is, if its directory was made.
    made_top: Option<PathBuf>,
    /// The last so many of `blobs` were made.
    made_blobs: usize,
    /// The layout has no marker yet.
    unmarked: bool,
}

impl Layout {
    /// Opens the directory of a layout, and makes it if there is none.
    fn open(dir: &Path) -> Result<Self> {
        let made = match DirBuilder::new().create(dir) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match dir.metadata() {
                Ok(found) if !found.is_dir() => {
                    return Err(SaveError::Exists(dir.to_owned()).into());
                }
                _ => false,
            },
            Err(error) => return Err(error).context("create", dir),
        };
        let top = Directory::open(dir)?;
        let unmarked = matches!(top.file("oci-layout"), Ok(None));
        if unmarked && !made && names(&top).context("list", dir)?.next().is_some() {
            return Err(SaveError::NotALayout(dir.to_owned()).into());
        }
        Ok(Self {
            top,
            blobs: Vec::new(),
            made_top: made.then(|| dir.to_owned()),
            made_blobs: 0,
            unmarked,
        })
    }

    fn make_blobs(&mut self) -> Result<()> {
        for name in ["blobs", "sha256"] {
            let outer = self.blobs.last().unwrap_or(&self.top);
            let (dir, made) = outer.enter(name)?;
            self.made_blobs += usize::from(made);
            self.blobs.push(dir);
        }
        Ok(())
    }

    /// Whether the file that marks a layout is there and whole.
    fn has_marker(&self) -> bool {
        let path = self.top.path_of("oci-layout");
        let Ok(Some(file)) = self.top.file("oci-layout") else {
            return false;
        };
        read(file, &path).is_ok_and(|bytes| is_marker(&bytes))
    }

    fn keep(mut self) {
        self.made_top = None;
        self.made_blobs = 0;
        self.unmarked = false;
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        for name in ["sha256", "blobs"].into_iter().skip(2 - self.blobs.len()) {
            let Some(dir) = self.blobs.pop().filter(|_| self.made_blobs > 0) else {
                break;
            };
            self.made_blobs -= 1;
            // Only what was written here is in it: the directory was made for that.
            for file in names(&dir).into_iter().flatten().flatten() {
                remove(&dir, file.file_name(), AtFlags::empty());
            }
            let outer = self.blobs.last().unwrap_or(&self.top);
            if let Ok(name) = std::ffi::CString::new(name) {
                remove(outer, &name, AtFlags::REMOVEDIR);
            }
        }
        if self.unmarked {
            remove(&self.top, c"oci-layout", AtFlags::empty());
        }
        if let Some(dir) = self.made_top.take()
            && let Err(error) = std::fs::remove_dir(&dir)
        {
            log::warn!("cannot remove {}: {error}", dir.display());
        }
    }
}

/// What is in a directory.
fn names(
    dir: &Directory,
) -> rustix::io::Result<impl Iterator<Item = rustix::io::Result<rustix::fs::DirEntry>>> {
    let is_entry = |entry: &rustix::io::Result<rustix::fs::DirEntry>| {
        let of_kernel = |name: &CStr| name == c"." || name == c"..";
        !entry
            .as_ref()
            .is_ok_and(|entry| of_kernel(entry.file_name()))
    };
    Ok(Dir::read_from(dir.fd())?.filter(is_entry))
}

fn remove(dir: &Directory, name: &CStr, flags: AtFlags) {
    match rustix::fs::unlinkat(dir.fd(), name, flags) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => {
            let path = dir.path_of(&*name.to_string_lossy());
            log::warn!("cannot remove {}: {errno}", path.display());
        }
    }
}

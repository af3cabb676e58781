//! Saving to an OCI image layout in a directory.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::target::Unnamed;
use super::{Parts, SaveError, copy_blob};
use crate::error::Context;
use crate::oci::{Descriptor, Index, MANIFEST, REF_NAME, index_of};
use crate::source::Source;
use crate::store::{MARKER, read_document};
use crate::{Result, limits};

/// Adds an image to a layout, which is made if there is none.
pub(super) fn save(parts: &Parts<'_>, target: &Source) -> Result<()> {
    let dir = &target.path;
    let made = Made::new(dir)?;
    let blobs = dir.join("blobs/sha256");
    for (digest, bytes) in parts.documents() {
        write(&blobs.join(digest.hex()), bytes)?;
    }
    for layer in parts.layers() {
        let place = blobs.join(layer.digest.hex());
        // A layout is added to: what is there was put there under its digest.
        if place
            .metadata()
            .is_ok_and(|found| found.len() == layer.size)
        {
            continue;
        }
        let mut file = Unnamed::create(&place)?;
        file.write(|out| {
            copy_blob(parts, layer, |blob| {
                io::copy(blob, out).map(drop).context("write", &place)
            })
        })?;
        file.publish()?;
    }
    write(&dir.join("oci-layout"), MARKER)?;
    add(parts, target, &dir.join("index.json"))?;
    made.keep();
    Ok(())
}

/// Adds the image to the index, in place of another of its name.
fn add(parts: &Parts<'_>, target: &Source, path: &Path) -> Result<()> {
    let mut index = match path.exists() {
        true => {
            let bytes = read_document(path, limits::DOCUMENT_BYTES)?;
            index_of(&bytes, &path.to_string_lossy())?
        }
        false => Index::empty(),
    };
    let descriptor = named(parts, target)?;
    index
        .manifests
        .retain(|one| one.ref_name() != descriptor.ref_name());
    index.manifests.push(descriptor);
    let mut file = Unnamed::replacing(path)?;
    let bytes = index.to_json();
    file.write(|out| out.write_all(&bytes).context("write", path))?;
    file.publish()
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

/// Writes a small file that is not there yet.
fn write(place: &Path, bytes: &[u8]) -> Result<()> {
    if place.exists() {
        return Ok(());
    }
    let mut file = Unnamed::create(place)?;
    file.write(|out| out.write_all(bytes).context("write", place))?;
    file.publish()
}

/// The directories of a layout; those that were made go if the image does not come.
struct Made {
    /// Outermost first.
    dirs: Vec<PathBuf>,
    marker: Option<PathBuf>,
}

impl Made {
    fn new(dir: &Path) -> Result<Self> {
        let is_layout = dir.join("oci-layout").exists();
        match std::fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
            Ok(true) if !is_layout => {
                return Err(SaveError::NotALayout(dir.to_owned()).into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(SaveError::Exists(dir.to_owned()).into());
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("open", dir);
            }
            _ => {}
        }
        let mut made = Self {
            dirs: Vec::new(),
            marker: (!is_layout).then(|| dir.join("oci-layout")),
        };
        for dir in [dir, &dir.join("blobs"), &dir.join("blobs/sha256")] {
            match DirBuilder::new().create(dir) {
                Ok(()) => made.dirs.push(dir.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.context("create", dir)?,
            }
        }
        Ok(made)
    }

    fn keep(mut self) {
        self.dirs.clear();
        self.marker = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in self.dirs.iter().rev() {
            // Only what was written here is in it: the directory was made for that.
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            for file in files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())) {
                remove(std::fs::remove_file(file.path()), &file.path());
            }
            remove(std::fs::remove_dir(dir), dir);
        }
        if let Some(marker) = self.marker.take().filter(|marker| marker.exists()) {
            remove(std::fs::remove_file(&marker), &marker);
        }
    }
}

fn remove(removed: io::Result<()>, path: &Path) {
    if let Err(error) = removed {
        log::warn!("cannot remove {}: {error}", path.display());
    }
}

//! Places in a container that is kept: directories and files that it gets only to be mounted on, since its
//! image has none. They are removed when it has ended, or by the next command that uses it when that could not
//! be done, so that no image which is made of it has them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;
use plyfs_fs::types::FileKind;
use plyfs_fs::{Errno, Overlay};
use plyfs_store::{Container, Store};

use crate::error::{Context, Result};
use crate::runtime::root::Root;

/// Records the places of the mounts of a configuration that are missing, with the directories above them.
pub(crate) fn record(store: &Store, container: &Container, root: &Root, spec: &Spec) -> Result {
    let mounts = spec.mounts().iter().flatten();
    let missing = mounts.flat_map(|mount| root.missing(mount.destination()));
    let mut places = missing.collect::<BTreeSet<PathBuf>>();
    if places.is_empty() {
        return Ok(());
    }
    // What an earlier run left could not be removed.
    places.extend(container.places()?);
    Ok(store.record_places(container, &places)?)
}

/// Removes the places that a container still has, as far as they are empty. `open` opens its overlay, if there
/// is something to do.
///
/// What could not be removed stays in the record.
pub(crate) fn remove(
    store: &Store,
    container: &Container,
    open: impl FnOnce() -> Result<Overlay>,
) -> Result {
    let places = container.places()?;
    if places.is_empty() {
        return Ok(());
    }
    let overlay = open()?;
    let mut left = BTreeSet::new();
    let mut failed = None;
    // What is inside comes before what it is in.
    for path in places.into_iter().rev() {
        match remove_empty(&overlay, &path) {
            // What is not empty is the program's.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => {}
            Err(errno) => {
                failed = Some(errno);
                left.insert(path);
            }
        }
    }
    overlay.finish().context("write changes to disk")?;
    match (failed, left.first()) {
        (Some(errno), Some(path)) => {
            store.record_places(container, &left)?;
            Err(errno).context(format_args!("remove {}", path.display()))
        }
        _ => Ok(container.forget_places()?),
    }
}

fn remove_empty(overlay: &Overlay, path: &Path) -> Result<(), Errno> {
    let names = names(path);
    let Some((name, above)) = names.split_last() else {
        return Ok(());
    };
    let mut dir = overlay.root();
    for name in above {
        dir = overlay.lookup(dir, name)?.id;
    }
    let attr = overlay.lookup(dir, name)?.attr;
    if attr.kind.is_dir() {
        return overlay.rmdir(dir, name);
    }
    match attr.kind == FileKind::Regular && attr.size == 0 {
        true => overlay.unlink(dir, name),
        false => Err(Errno::NOTEMPTY),
    }
}

/// The names of a path, from the root.
pub(crate) fn names(path: &Path) -> Vec<&OsStr> {
    let name = |part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

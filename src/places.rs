//! Places in a container that is kept: directories and files that it gets only to be mounted on, since its
//! image has none. They are removed when it has ended, or by the next command that uses it when that could not
//! be done, so that no image which is made of it has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;
use plyfs_fs::attr::FileKind;
use plyfs_fs::{Config, Errno, Overlay};
use plyfs_store::{Container, Store};

use crate::changes::{Change, Names};
use crate::failure::{Doing, Outcome};
use crate::runtime::root::Root;

/// Records the places of the mounts of a configuration that are missing, with the directories above them.
pub(crate) fn record(store: &Store, container: &Container, root: &Root, spec: &Spec) -> Outcome {
    let mounts = spec.mounts().iter().flatten();
    let missing: BTreeSet<PathBuf> = mounts
        .flat_map(|mount| root.missing(mount.destination()))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Ok(store.record_places(container, &missing)?),
    }
}

/// Removes the places that a container still has, as far as they are empty. It is not mounted, and `overlay`
/// shows it.
pub(crate) fn remove(container: &Container, overlay: &Config) -> Outcome {
    let places = container.places()?;
    if places.is_empty() {
        return Ok(());
    }
    // As a mount does it: the name may be one of the image's that was removed in the container.
    let overlay = Overlay::open(overlay)?;
    // What is inside comes before what it is in.
    for path in places.iter().rev() {
        if let Err(errno) = remove_empty(&overlay, path) {
            log::debug!("{} stays in the container: {errno}", path.display());
        }
    }
    overlay.finish().doing("remove places to mount on")?;
    Ok(container.forget_places()?)
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

/// Leaves out of the changes of a container the places that it has while it runs.
pub(crate) fn leave_out(container: &Container, changes: &mut BTreeMap<Names, Change>) -> Outcome {
    for path in container.places()?.iter().rev() {
        let names: Names = names(path).into_iter().map(OsStr::to_owned).collect();
        let mut from = changes.range(names.clone()..).skip(1);
        let has_more = from
            .next()
            .is_some_and(|(next, _)| next.starts_with(&names));
        if !has_more {
            changes.remove(&names);
        }
    }
    Ok(())
}

fn names(path: &Path) -> Vec<&OsStr> {
    let name = |part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

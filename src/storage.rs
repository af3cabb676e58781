//! The store of this user, and how owners are kept in it.

use std::path::{Path, PathBuf};

use plyfs_store::{BlobError, Digest, Ownership, Store};
use rustix::thread::CapabilitySet;

use crate::error::{CliError, Context, Result};
use crate::namespace;

impl From<plyfs_store::Error> for CliError {
    fn from(error: plyfs_store::Error) -> Self {
        match error {
            plyfs_store::Error::NoStore { .. } => Self::new(format_args!(
                "{error}; import an image, or say with --store or PLYFS_STORE where one was imported"
            )),
            plyfs_store::Error::LostIndex { .. } => Self::new(format_args!(
                "{error}; \"plyfs fsck --repair\" makes a new one, in which the images are called recovered:DIGEST; \
                 \"plyfs tag\" gives them names again"
            )),
            error if is_damage(&error) => Self::new(format_args!(
                "{error}; \"plyfs fsck --repair\" heals the store if it can"
            )),
            error => Self::new(error),
        }
    }
}

/// Whether an error means that the store is damaged.
fn is_damage(error: &plyfs_store::Error) -> bool {
    use plyfs_store::Error;
    matches!(
        error,
        Error::DamagedRecord { .. }
            | Error::Blob(
                BlobError::Corrupt { .. } | BlobError::Size { .. } | BlobError::Missing { .. }
            )
    )
}

/// The store that the caller names, by the option or the variable. An empty variable counts as unset, since scripts
/// often set one to the value of another that is unset.
fn named(chosen: Option<&Path>) -> Option<PathBuf> {
    let variable = std::env::var_os("PLYFS_STORE").map(PathBuf::from);
    let variable = variable.filter(|path| !path.as_os_str().is_empty());
    chosen.map(Path::to_owned).or(variable)
}

/// Where the store is.
pub(crate) fn location(chosen: Option<&Path>) -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    if let Some(named) = named(chosen) {
        return std::path::absolute(named).context("resolve the path of the store");
    }
    if namespace::is_real_root() {
        return Ok("/var/lib/plyfs".into());
    }
    // A relative path is to be ignored (XDG base directory specification).
    let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(variable("HOME")?.join(".local/share")));
    let data = data.filter(|path| path.is_absolute()).ok_or_else(|| {
        CliError::new("neither HOME nor XDG_DATA_HOME is set; say where the store is with --store")
    })?;
    Ok(data.join("plyfs"))
}

/// Opens the store, which must be there.
pub(crate) fn open_existing(chosen: Option<&Path>) -> Result<Store> {
    Ok(Store::open_existing(location(chosen)?)?)
}

/// Opens the store at a location, if there is one: where nothing was imported yet there is nothing to
/// list, and that is no failure.
///
/// # Errors
/// If the caller names a directory that does not exist: an empty list would hide that the name is wrong.
pub(crate) fn open_if_there(chosen: Option<&Path>, location: PathBuf) -> Result<Option<Store>> {
    match Store::open_existing(location) {
        Err(plyfs_store::Error::NoStore { path }) if named(chosen).is_none() || path.exists() => {
            Ok(None)
        }
        opened => Ok(Some(opened?)),
    }
}

/// Opens the store if possible, for commands that also work without one.
pub(crate) fn open_if_usable(chosen: Option<&Path>) -> Option<Store> {
    let opened = location(chosen).and_then(|location| open_if_there(chosen, location));
    opened.unwrap_or_else(|failure| {
        log::debug!("no store: {failure}");
        None
    })
}

/// Enters the user namespace in which files of the store have their recorded owners, if this user has subordinate
/// ids. Without them, all files are the user's own.
///
/// Call [`location`] before: inside the namespace, the user has another id.
pub(crate) fn enter_for_owners() -> Result {
    match !namespace::can_mount() && namespace::has_subordinate_ids() {
        true => namespace::enter(),
        false => Ok(()),
    }
}

/// How this process keeps owners of what it makes: as they are if it may give files to others.
pub(crate) fn ownership_here() -> Ownership {
    let may_chown = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::CHOWN));
    if may_chown && has_many_ids() {
        Ownership::Real
    } else {
        Ownership::Override
    }
}

/// Whether this user namespace maps more than one id.
fn has_many_ids() -> bool {
    let many = |file| match namespace::mapped_ids(file) {
        None => true,
        Some(ranges) => ranges.iter().any(|range| range.len() > 1) || ranges.len() > 1,
    };
    many("/proc/self/uid_map") && many("/proc/self/gid_map")
}

/// Removes what is left of an image that lost its names while it was in use, now that its last use has ended. A
/// failure here is logged only, and does not fail that use: `plyfs prune` does the same later.
pub(crate) fn collect_unnamed(store: &Store, manifest: &Digest) {
    match store.collect_unnamed(manifest) {
        Ok(Some(collected)) => log::debug!("removed {} layers", collected.layers),
        Ok(None) => {}
        Err(error) => {
            log::debug!("cannot remove the unnamed image; \"plyfs prune\" tries again: {error}")
        }
    }
}

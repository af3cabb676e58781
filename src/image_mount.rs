//! From an image or a container in the store to a mount.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plyfs_fs::{
    Config, IndexUse, LowerLayer, MarkedUpper, OverrideStatMode, RedirectDir, ShownIds, UpperLayer,
    Volatile, XattrTrust, was_served_by_kernel,
};
use plyfs_store::{
    Container, ContainerError, ContainerLock, ContainerName, Image, ImageHold, LayerPath,
    NameError, Ownership, Store,
};

use crate::containers::{live, places};
use crate::error::{CliError, Result};
use crate::mount::mountinfo;
use crate::mount::options::Options;
use crate::mount::plan::Plan;
use crate::mount::server;
use crate::{namespace, storage};

/// An image or container of the store to mount.
pub(crate) enum Subject {
    /// The layers of an image, read-only.
    Image(Box<Image>, Arc<ImageHold>),
    /// A container, with its changes.
    Container(Box<Container>),
}

impl Subject {
    /// An image, with a hold that keeps it from being removed as long as it is mounted.
    pub(crate) fn image_of(store: &Store, image: Image) -> Result<Self> {
        let hold = store.hold(&image.manifest_digest)?;
        Ok(Self::Image(Box::new(image), Arc::new(hold)))
    }

    fn layers(&self) -> &[LayerPath] {
        match self {
            Self::Image(image, _) => &image.layers,
            Self::Container(container) => &container.layers,
        }
    }

    /// The name shown as the source of the mount.
    fn name(&self) -> String {
        match self {
            Self::Image(image, _) => image.name.to_string(),
            Self::Container(container) => container.record.name.to_string(),
        }
    }
}

/// The container of a name. Creates it on the image if there is none yet, and returns whether it was created.
pub(crate) fn container(
    store: &Store,
    name: Option<&str>,
    image: Option<Image>,
) -> Result<(Container, bool)> {
    let name: Option<ContainerName> = name.map(str::parse).transpose().map_err(CliError::new)?;
    let existing = match &name {
        None => None,
        Some(name) => match find_container(store, name)? {
            None if image.is_none() => return Err(unknown_container(store, name)),
            found => found,
        },
    };
    match (existing, image) {
        (Some(container), Some(image))
            if container.record.manifest_digest != image.manifest_digest =>
        {
            Err(another_image(&container, "mount"))
        }
        (Some(container), _) => Ok((container, false)),
        (None, Some(image)) => {
            let ownership = storage::ownership_here();
            let container = store.create_container(name.as_ref(), &image, ownership)?;
            Ok((container, true))
        }
        (None, None) => Err(CliError::new("an image or a container is needed")),
    }
}

/// The container of a name, if there is one.
///
/// # Errors
/// If a temporary container has the name: no other process can use it, and a second one of that name cannot be made.
pub(crate) fn find_container(store: &Store, name: &ContainerName) -> Result<Option<Container>> {
    match store.container(name) {
        Ok(container) => Ok(Some(container)),
        Err(plyfs_store::Error::Container(ContainerError::Unknown(_))) => {
            match store.live_of(name.as_str())? {
                Some(record) if record.what.temporary => Err(live::not_kept(&record)),
                _ => Ok(None),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an image was not found because none has its name.
pub(crate) fn is_unknown_image(error: &plyfs_store::Error) -> bool {
    matches!(
        error,
        plyfs_store::Error::Name(NameError::UnknownImage { .. })
    )
}

/// Why an image cannot be given with a container that was made of another one. `to` is what the user wants.
pub(crate) fn another_image(container: &Container, to: &str) -> CliError {
    let record = &container.record;
    CliError::new(format_args!(
        "the container {} stands on another image, which was called {}; leave the image away to {to} it",
        record.name, record.image
    ))
}

/// A container that is not there, with those that are.
fn unknown_container(store: &Store, name: &ContainerName) -> CliError {
    if let Ok(Some(record)) = store.live_of(name.as_str()) {
        return live::not_kept(&record);
    }
    let error = ContainerError::Unknown(name.clone());
    match others(store) {
        None => CliError::new(format_args!("{error}; give an image to make it of")),
        Some(others) => CliError::new(format_args!(
            "{error}, but {others}; or give an image to make it of"
        )),
    }
}

/// The containers there are, as far as a message should name them; also those that go with their command.
fn others(store: &Store) -> Option<String> {
    let records = store.containers().unwrap_or_default();
    let mut names: Vec<String> = records.iter().map(|one| one.name.to_string()).collect();
    let live = store.live().unwrap_or_default();
    let temporary = live.iter().filter(|record| record.what.temporary);
    names.extend(temporary.map(|record| record.id.to_string()));
    listed(&names)
}

/// Names as part of a message; none if there are none.
pub(crate) fn listed(names: &[String]) -> Option<String> {
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let shown = names.chunks(SHOWN).next()?.join(", ");
    Some(format!("{shown}{more}"))
}

/// A container that must be there.
pub(crate) fn existing_container(store: &Store, name: &str) -> Result<Container> {
    let name: ContainerName = name.parse().map_err(CliError::new)?;
    let container = store.container(&name);
    container.map_err(|error| container_failure(store, error))
}

/// Why nothing can be done with a container, and what to do about it.
pub(crate) fn container_failure(store: &Store, error: plyfs_store::Error) -> CliError {
    match error {
        plyfs_store::Error::Container(ContainerError::Unknown(name)) => no_container(store, &name),
        plyfs_store::Error::Container(ContainerError::Busy(name)) => live::in_use(store, &name, ""),
        error => error.into(),
    }
}

/// As [`unknown_container`], where none can be made.
fn no_container(store: &Store, name: &ContainerName) -> CliError {
    if let Ok(Some(record)) = store.live_of(name.as_str()) {
        return live::not_kept(&record);
    }
    let error = ContainerError::Unknown(name.clone());
    match others(store) {
        None => CliError::new(format_args!("{error}; there are none")),
        Some(others) => CliError::new(format_args!("{error}, but {others}")),
    }
}

/// Refuses a container that another program has mounted with the kernel's overlay: such a mount holds no lock.
pub(crate) fn refuse_mounted(container: &Container) -> Result {
    match mountinfo::is_changed_by_kernel(&container.upper) {
        true => Err(CliError::new(format_args!(
            "the container \"{}\" is in use: it is mounted by the kernel's overlay; unmount it first",
            container.record.name
        ))),
        false => Ok(()),
    }
}

/// Locks a container for use. Fails if another process uses it.
pub(crate) fn lock(store: &Store, container: &Container) -> Result<ContainerLock> {
    let lock = container.lock();
    lock.map_err(|error| container_failure(store, error))
}

/// How long the kernel may take to close the layers of a process that was killed.
const DYING: Duration = Duration::from_secs(1);

/// Removes what a container has only to be mounted on. The caller holds its lock.
pub(crate) fn remove_places(store: &Store, container: &Container) -> Result {
    let removed = places::remove(store, container, || {
        refuse_mounted(container)?;
        let subject = Subject::Container(Box::new(container.clone()));
        server::open_when_free(&overlay(&subject, false), DYING)
    });
    removed.map_err(|failure| {
        CliError::new(format_args!(
            "cannot remove what the container {} has only to be mounted on; its next use tries again: {failure}",
            container.record.name
        ))
    })
}

/// The mount of an image or a container. `read_only` leaves a container's changes as they are.
pub(crate) fn plan(
    store: &Store,
    subject: &Subject,
    options: &Options,
    target: PathBuf,
    read_only: bool,
) -> Result<Plan> {
    let hold: Box<dyn std::any::Any> = match subject {
        Subject::Image(_, hold) => Box::new(Arc::clone(hold)),
        Subject::Container(container) => {
            let lock = lock(store, container)?;
            if !read_only && let Err(failure) = remove_places(store, container) {
                log::warn!("{failure}");
            }
            Box::new(lock)
        }
    };
    let default = overlay(subject, read_only);
    let overlay = Config {
        volatile: match options.volatile {
            Volatile::No => Volatile::No,
            _ => Volatile::MarkedWhileOpen,
        },
        namespace: options.namespace,
        shown_ids: shown_ids(),
        owners: options.owners.clone(),
        redirect_dir: options.redirect_dir.unwrap_or(default.redirect_dir),
        metacopy: options.metacopy.unwrap_or(default.metacopy),
        index: options.index.unwrap_or(default.index),
        ..default
    };
    let mut plan = Plan::new(options, target, overlay, &subject.name());
    plan.hold = Some(hold);
    plan.requirements.empty = Some(store.mount_point());
    let marked = subject.layers().iter().map(|layer| &layer.record);
    let marked = marked.filter(|record| record.facts.opaque > 0);
    plan.requirements.marks = marked.map(|record| record.trusted).collect();
    Ok(plan)
}

/// The overlay that shows an image or a container, with owners as they are recorded. `read_only`
/// leaves a container's changes as they are.
pub(crate) fn overlay(subject: &Subject, read_only: bool) -> Config {
    let mut lowers = lowers(subject.layers());
    let mut upper = None;
    if let Subject::Container(container) = subject {
        let mut records = records_of_upper(container.record.ownership);
        if read_only {
            // `plyfs diff` has no lock, and the container may be mounted: its records cannot be removed.
            if was_served_by_kernel(&container.upper, Some(&container.work)) {
                records = records.untrusted();
            }
            let changes = LowerLayer {
                path: container.upper.clone(),
                records,
                marks: XattrTrust::Own,
                archive_names: false,
            };
            lowers.insert(0, changes);
        } else {
            upper = Some(UpperLayer {
                path: container.upper.clone(),
                work: container.work.clone(),
                records,
                marks: XattrTrust::Own,
                archive_names: false,
            });
        }
    }
    // Whether the kernel's overlay reads what it needs to go on with such an upper directory. With
    // `userxattr` it does not: metacopy files would be zeros to it.
    let readable = namespace::is_real_root();
    let has_index = matches!(subject, Subject::Container(container)
        if container.work.join("index").exists());
    let marked_upper = match &upper {
        // The kernel's overlay serves such a container only if it has no records, so all are its users'.
        Some(upper) if upper.records == OverrideStatMode::Devices => MarkedUpper::Clean,
        _ => MarkedUpper::Refuse,
    };
    Config {
        lowers,
        upper,
        redirect_dir: match readable {
            true => RedirectDir::On,
            false => RedirectDir::Follow,
        },
        metacopy: readable,
        index: match readable || has_index {
            true => IndexUse::Auto,
            false => IndexUse::Off,
        },
        marked_upper,
        in_store: true,
        ..Config::default()
    }
}

/// The layers of a stack, topmost first.
fn lowers(layers: &[LayerPath]) -> Vec<LowerLayer> {
    let mut lowers: Vec<LowerLayer> = Vec::new();
    for layer in layers.iter().rev() {
        let record = &layer.record;
        // An image may have a layer twice. Whatever the lower one shows or hides, the upper does.
        if lowers.iter().any(|above| above.path == layer.path) {
            continue;
        }
        lowers.push(LowerLayer {
            path: layer.path.clone(),
            records: match record.ownership {
                Ownership::Override => OverrideStatMode::All,
                Ownership::Real if record.facts.overrides > 0 => OverrideStatMode::Devices,
                Ownership::Real => OverrideStatMode::None,
            },
            // What images bring under these names is dropped when they are unpacked.
            marks: match record.facts.opaque {
                0 => XattrTrust::None,
                _ => XattrTrust::Any,
            },
            archive_names: false,
        });
        // The roots of layers are always merged, so what an opaque one hides is left out.
        if record.facts.opaque_root {
            break;
        }
    }
    lowers
}

/// Which `override_stat` records the upper directory of a container uses.
fn records_of_upper(ownership: Ownership) -> OverrideStatMode {
    match ownership {
        Ownership::Override => OverrideStatMode::All,
        // The kernel makes no devices in a user namespace, so records stand for them.
        Ownership::Real if !namespace::is_initial() => OverrideStatMode::Devices,
        Ownership::Real => OverrideStatMode::None,
    }
}

pub(crate) fn shown_ids() -> ShownIds {
    ShownIds {
        uids: namespace::mapped_ids("/proc/self/uid_map"),
        gids: namespace::mapped_ids("/proc/self/gid_map"),
    }
}

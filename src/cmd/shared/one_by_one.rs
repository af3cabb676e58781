//! What `stop` and `kill` share: acting on one container after another.

use std::path::Path;

use plyfs_store::{ContainerName, Store};

use crate::error::{CliError, NOT_STARTED, Result};
use crate::{image_mount, output, storage};

/// Makes sure that there is a container, and that nothing uses it.
pub(crate) fn is_idle(store: &Store, name: &str) -> Result {
    let name: ContainerName = name.parse().map_err(CliError::new)?;
    match store.is_in_use(&name) {
        Ok(false) => Ok(()),
        Ok(true) => Err(CliError::new(format_args!(
            "the container \"{name}\" is in use, and no record says by which process"
        ))),
        Err(error) => Err(image_mount::container_failure(store, error)),
    }
}

/// Does something to one after another, whatever becomes of the others, and prints the names of those for
/// which it was done.
pub(crate) fn each(
    names: &[String],
    store: Option<&Path>,
    mut act: impl FnMut(&Store, &str) -> Result,
) -> Result {
    let store =
        storage::open_existing(store).map_err(|failure| failure.with_status(NOT_STARTED))?;
    let mut failed: Option<CliError> = None;
    for name in names {
        let done = act(&store, name).and_then(|()| output::write(&format!("{name}\n")));
        if let Err(failure) = done
            && let Some(before) = failed.replace(failure)
        {
            output::complain(&before);
        }
    }
    failed.map_or(Ok(()), |failure| Err(failure.with_status(NOT_STARTED)))
}

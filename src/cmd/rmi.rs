//! `plyfs rmi`.

use std::path::Path;

use clap::Args;
use plyfs_store::{RemoveError, Unneeded};

use super::shared::removal::{each, open, open_forced};
use crate::error::{CliError, Result};
use crate::{image_mount, output};

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Even if containers stand on it or it is mounted: they keep their layers until they end, and only the name
    /// goes now. A digest loses all its names. An image that does not exist is no failure
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The images, by name, digest, or the first digits of one (six or more)
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// Removes images, and prints their names.
pub(crate) fn rmi(args: &RmiArgs, store: Option<&Path>) -> Result {
    let store = if args.force {
        open_forced(store)?
    } else {
        Some(open(store)?)
    };
    let Some(store) = store else { return Ok(()) };
    each(&store, &args.images, |name| {
        let removed = match store.remove_image(name, args.force) {
            // As in Podman, an image that does not exist counts as removed.
            Err(error) if args.force && image_mount::is_unknown_image(&error) => {
                return Ok(Unneeded::default());
            }
            removed => removed,
        };
        let (names, unneeded) = removed.map_err(|error| match error {
            plyfs_store::Error::Remove(error @ RemoveError::Used { .. }) => CliError::new(
                format_args!("{error}; remove that first, or with --force the name alone"),
            ),
            plyfs_store::Error::Remove(error @ RemoveError::SeveralNames { .. }) => CliError::new(
                format_args!("{error}; name one of them, or remove all of them with --force"),
            ),
            error => error.into(),
        })?;
        for name in names {
            output::write(&format!("{name}\n"))?;
        }
        Ok(unneeded)
    })
}

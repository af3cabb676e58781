//! `plyfs tag`.

use std::path::Path;

use clap::Args;
use plyfs_store::ImageName;

use crate::error::{CliError, Result};
use crate::storage;

/// Give an image one more name
///
/// An image that has the name already loses it; without another name it goes with the next prune, as after an import
/// under that name. "plyfs rmi NAME" takes one of several names away.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The image, by name or digest
    pub(crate) image: String,
    /// The names that it gets besides those it has
    #[arg(required = true, value_name = "NAME[:TAG]")]
    pub(crate) names: Vec<String>,
}

/// Gives an image more names. As in Podman, nothing is printed.
pub(crate) fn tag(args: &TagArgs, store: Option<&Path>) -> Result {
    let names = args.names.iter().map(|name| name.parse());
    let names: Result<Vec<ImageName>, _> = names.collect();
    let names = names.map_err(CliError::new)?;
    let store = storage::open_existing(store)?;
    Ok(store.tag_image(&args.image, &names)?)
}

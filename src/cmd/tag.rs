//! `plyfs tag`.

use std::path::Path;

use plyfs_store::ImageName;

use crate::cli::TagArgs;
use crate::error::{CliError, Result};
use crate::storage;

/// Gives an image more names. As in Podman, nothing is printed.
pub(crate) fn tag(args: &TagArgs, store: Option<&Path>) -> Result {
    let names = args.names.iter().map(|name| name.parse());
    let names: Result<Vec<ImageName>, _> = names.collect();
    let names = names.map_err(CliError::new)?;
    let store = storage::open_existing(store)?;
    Ok(store.tag_image(&args.image, &names)?)
}

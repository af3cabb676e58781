//! `plyfs prune`.

use std::path::Path;

use clap::Args;
use plyfs_store::{Collected, Unneeded};
use serde_json::json;

use super::shared::removal::{open_if_there, warn_of_damage};
use crate::error::{CliError, Result};
use crate::output;

/// Remove what no image, container or mount needs, and what came of pulls that broke off
///
/// Images and containers stay. A blob that no image of plyfs ever needed stays for an hour: another tool may be
/// about to add an image to the store.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Removes what nothing needs, and prints how much that was.
pub(crate) fn prune(args: &PruneArgs, store: Option<&Path>) -> Result {
    let (collected, downloads) = match open_if_there(store)? {
        None => (Collected::default(), 0),
        Some(store) => {
            let collected = store.collect(&Unneeded::default())?.ok_or_else(|| {
                CliError::new(
                    "cannot prune: something is being added to the store; try again later",
                )
            })?;
            (collected, store.remove_downloads()?)
        }
    };
    warn_of_damage(&collected);
    if args.json {
        return output::json(&json!({
            "blobs": collected.blobs,
            "layers": collected.layers,
            "size": collected.bytes + downloads,
            "downloads": downloads,
        }));
    }
    output::write(&format!(
        "removed {} blobs and {} layers, {}\n",
        collected.blobs,
        collected.layers,
        output::size(collected.bytes + downloads)
    ))
}

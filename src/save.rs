//! `plyfs save`.

use std::path::Path;

use plyfs_store::Source;

use crate::cli::SaveArgs;
use crate::failure::{Failure, Outcome};
use crate::storage;

/// Writes an image to a layout or an archive.
pub(crate) fn save(args: &SaveArgs, store: Option<&Path>) -> Outcome {
    let target = Source::parse(&args.target).map_err(|_| not_understood(&args.target))?;
    let saved = storage::open_existing(store)?.save(&args.image, &target)?;
    log::info!("saved {} ({})", saved.name, saved.manifest_digest);
    Ok(())
}

fn not_understood(target: &str) -> Failure {
    Failure::new(format_args!(
        "\"{}\" does not say where to save to: write oci:DIR[:TAG], oci-archive:FILE[:TAG] or \
         docker-archive:FILE[:NAME:TAG]",
        plyfs_store::escaped(target)
    ))
}

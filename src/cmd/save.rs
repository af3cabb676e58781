//! `plyfs save`.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;

use clap::Args;
use plyfs_store::{Form, Source};

use super::push::PushArgs;
use super::shared::progress::Line;
use crate::error::{CliError, Context, Result};
use crate::registry::TRANSPORT;
use crate::storage;

#[derive(Debug, Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets of a usage, not of a link"
)]
pub(crate) struct SaveArgs {
    /// The image
    pub(crate) image: String,
    /// oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] or docker://REF; - in the place of FILE is standard
    /// output
    pub(crate) target: String,
}

/// Writes an image to a layout or an archive.
pub(crate) fn save(args: &SaveArgs, store: Option<&Path>) -> Result {
    if args.target.starts_with(TRANSPORT) {
        return super::push::push(&PushArgs::of(&args.image, &args.target), store);
    }
    let target = Source::parse(&args.target).map_err(|_| not_understood(&args.target))?;
    let out = (target.path == Path::new("-")).then(standard_output);
    let out = out.transpose()?;
    if out.is_some() && target.form == Form::Oci {
        return Err(CliError::new(
            "a directory cannot be written to standard output; write oci-archive:- or docker-archive:-",
        ));
    }
    let saved =
        storage::open_existing(store)?.save_to(&args.image, &target, out, &Line::new("saving"))?;
    log::info!("saved {} ({})", saved.name, saved.manifest_digest);
    Ok(())
}

/// Standard output, for an archive.
fn standard_output() -> Result<File> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(CliError::new(
            "an archive is not written to a terminal: redirect standard output",
        ));
    }
    let owned = stdout.as_fd().try_clone_to_owned();
    owned.map(File::from).context("write to standard output")
}

fn not_understood(target: &str) -> CliError {
    CliError::new(format_args!(
        "\"{}\" does not say where to save to: write oci:DIR[:TAG], oci-archive:FILE[:TAG] or \
         docker-archive:FILE[:NAME:TAG]",
        plyfs_store::escaped(target)
    ))
}

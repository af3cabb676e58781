//! `plyfs pull`.

use std::path::Path;

use clap::Args;
use plyfs_store::{Imported, Store};
use serde_json::json;

use super::shared::ownership::{OwnershipArg, choose_ownership};
use super::shared::pulling::{self, Wanted};
use super::shared::watch::{Shown, Watch};
use crate::error::{CliError, Result};
use crate::registry::{RegistryArgs, RegistryName};
use crate::{output, storage};

/// Pull an image from a registry: verify it and unpack its layers into the store while they come
///
/// What came of a layer stays when a pull ends early, and the next one goes on from there. A layer that another pull
/// fetches at the same time comes once.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The image, as docker.io/library/debian:bookworm, debian:bookworm or registry.example/app@sha256:DIGEST; a name
    /// without a registry is looked for where registries.conf says, else in docker.io
    #[arg(value_name = "[docker://]REF")]
    pub(crate) image: String,
    /// Which of several platforms to take, as OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// How to keep owners: as they are, or in extended attributes; as they are if ids allow it
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true)]
    pub(crate) ownership: OwnershipArg,
    /// Print the digest of the image alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Events as JSON, an object on a line, for programs
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// Pulls an image and prints its name.
pub(crate) fn pull(args: &PullArgs, store: Option<&Path>) -> Result {
    let name = RegistryName::parse(&args.image)?;
    let platform = args.platform.as_deref().map(str::parse).transpose();
    let platform = platform.map_err(CliError::new)?;
    // Before the namespace, in which the user would seem to be another.
    let location = storage::location(store)?;
    let ownership = choose_ownership(args.ownership)?;
    let store = Store::open(location)?;
    let watch = Watch::start(match (args.quiet, args.json) {
        (true, _) => Shown::Nothing,
        (_, true) => Shown::Json,
        _ => Shown::BarsOrLines,
    })?;
    let wanted = Wanted {
        name: &name,
        platform,
        ownership,
    };
    let imported = pulling::pull(&store, &wanted, &args.registry, &watch)?;
    report(args, &imported)
}

fn report(args: &PullArgs, imported: &Imported) -> Result {
    if args.json {
        let event = json!({
            "event": "pulled",
            "name": imported.name.as_str(),
            "digest": imported.manifest_digest.to_string(),
            "layers": imported.layers,
            "unpacked": imported.unpacked,
        });
        return output::write(&format!("{event}\n"));
    }
    match args.quiet {
        true => output::write(&format!("{}\n", imported.manifest_digest)),
        false => output::write(&format!("{}\n", imported.name)),
    }
}

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
    /// The name of the image in the store, if not the reference
    #[arg(long, value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
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
    /// For a command that needs the image: why it was not pulled goes to standard output
    #[arg(long, hide = true)]
    pub(crate) for_command: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

impl PullArgs {
    /// A pull with nothing out of the ordinary.
    pub(crate) fn of(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            name: None,
            platform: None,
            ownership: OwnershipArg::Auto,
            quiet: false,
            json: false,
            for_command: false,
            registry: RegistryArgs::default(),
        }
    }
}

/// Pulls an image and prints its name.
pub(crate) fn pull(args: &PullArgs, store: Option<&Path>) -> Result {
    let pulled = pull_image(args, store);
    match pulled {
        Ok(_) if args.for_command => Ok(()),
        Ok(imported) => report(args, &imported),
        Err(failure) if args.for_command => {
            output::write(&format!("{failure}\n"))?;
            Err(CliError::silent(failure.status()))
        }
        Err(failure) => Err(failure),
    }
}

fn pull_image(args: &PullArgs, store: Option<&Path>) -> Result<Imported> {
    let name = RegistryName::parse(&args.image)?;
    let platform = args.platform.as_deref().map(str::parse).transpose();
    let platform = platform.map_err(CliError::new)?;
    let called = args.name.as_deref().map(str::parse).transpose();
    let called = called.map_err(CliError::new)?;
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
        called,
        platform,
        ownership,
    };
    pulling::pull(&store, &wanted, &args.registry, &watch)
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

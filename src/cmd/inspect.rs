//! `plyfs inspect`.

use std::path::Path;

use clap::Args;
use plyfs_store::{
    Container, ContainerName, Image, LayerPath, NameError, Outline, OutlinedLayer, Store,
};
use serde_json::{Value, json};

use super::shared::outlining::outline;
use crate::containers::live;
use crate::error::{CliError, Result};
use crate::registry::{RegistryArgs, TRANSPORT};
use crate::{image_mount, output, storage};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The container, the image, or docker:// and an image in a registry, of which only documents are fetched
    #[arg(value_name = "CONTAINER|IMAGE|docker://REF")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// Prints all that is known of an image or a container.
pub(crate) fn inspect(args: &InspectArgs, store: Option<&Path>) -> Result {
    if args.name.starts_with(TRANSPORT) {
        let (name, outline) = outline(&args.name, &args.registry)?;
        return output::json(&of_outline(&name, &outline));
    }
    let store = storage::open_existing(store)?;
    let name = &args.name;
    if let Ok(Some(record)) = store.live_of(name)
        && record.what.temporary
    {
        return Err(live::not_kept(&record));
    }
    match container(&store, name)? {
        Some(container) => output::json(&of_container(&store, &container)),
        None => output::json(&of_image(&store.image(name).map_err(
            |error| match error {
                plyfs_store::Error::Name(error @ NameError::UnknownImage { .. }) => {
                    CliError::new(format_args!(
                        "there is no container \"{}\", and {error}",
                        plyfs_store::escaped(name)
                    ))
                }
                error => error.into(),
            },
        )?)),
    }
}

/// The container of that name, if it can be one and there is one.
fn container(store: &Store, name: &str) -> Result<Option<Container>> {
    let Ok(name) = name.parse::<ContainerName>() else {
        return Ok(None);
    };
    image_mount::find_container(store, &name)
}

fn of_image(image: &Image) -> Value {
    json!({
        "type": "image",
        "name": image.name.as_str(),
        "digest": image.manifest_digest.to_string(),
        "platform": image.platform().to_string(),
        "config": image.config,
        "layers": layers(&image.layers),
        "chain_ids": image.chain_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn of_outline(name: &str, outline: &Outline) -> Value {
    let layer = |layer: &OutlinedLayer| {
        json!({
            "diff_id": layer.diff_id.to_string(),
            "blob": layer.blob.to_string(),
            "size": layer.size,
        })
    };
    json!({
        "type": "image",
        "name": name,
        "digest": outline.manifest_digest.to_string(),
        "platform": outline.platform.to_string(),
        "config": outline.config,
        "layers": outline.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

fn of_container(store: &Store, container: &Container) -> Value {
    let record = &container.record;
    json!({
        "type": "container",
        "name": record.name.as_str(),
        "image": record.image.as_str(),
        "image_digest": record.manifest_digest.to_string(),
        "created": record.created,
        "ownership": record.ownership,
        "in_use": store.is_in_use(&record.name).unwrap_or(false),
        "upper": container.upper.to_string_lossy(),
        "work": container.work.to_string_lossy(),
        "layers": layers(&container.layers),
    })
}

/// Layers, bottom first.
fn layers(layers: &[LayerPath]) -> Vec<Value> {
    let layer = |layer: &LayerPath| {
        json!({
            "path": layer.path.to_string_lossy(),
            "record": layer.record,
        })
    };
    let own = layers.iter().filter(|layer| !layer.is_stand_in());
    own.map(layer).collect()
}

//! `plyfs df`.

use std::path::Path;

use clap::Args;
use plyfs_store::{Room, Usage};
use serde_json::{Value, json};

use crate::error::Result;
use crate::{output, storage};

/// Show how much space images and containers take; with -v, for each of them
///
/// The size of an image is the data in its unpacked layers and its compressed blobs, SHARED what other images need as
/// well, and UNIQUE what removing it frees. "plyfs images" shows another size: that of the layers as uncompressed
/// archives. The size of a container is what its changes take on disk.
#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    /// Each image and container by itself
    #[arg(short = 'v', long)]
    details: bool,
}

/// Prints how much space images and containers take.
pub(crate) fn df(args: &DfArgs, store: Option<&Path>) -> Result {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    let usage = match storage::open_if_there(store, location)? {
        None => Usage::default(),
        Some(store) => store.usage()?,
    };
    if args.json {
        return output::json(&listed(&usage));
    }
    let row = |kind: &str, room: Room| {
        [
            kind.to_owned(),
            room.count.to_string(),
            output::size(room.bytes),
        ]
    };
    let containers = Room {
        count: usage.containers.len(),
        bytes: usage.containers.iter().map(|one| one.size).sum(),
    };
    let rows = [
        row("unpacked layers", usage.layers),
        row("blobs", usage.blobs),
        row("containers", containers),
    ];
    output::table(["WHAT", "COUNT", "SIZE"], &rows)?;
    if !args.details {
        return Ok(());
    }
    let image = |one: &plyfs_store::ImageUsage| {
        [
            one.name.to_string(),
            output::size(one.size),
            output::size(one.shared),
            output::size(one.unique),
        ]
    };
    let images: Vec<[String; 4]> = usage.images.iter().map(image).collect();
    output::write("\n")?;
    output::table(["IMAGE", "SIZE", "SHARED", "UNIQUE"], &images)?;
    let container =
        |one: &plyfs_store::ContainerUsage| [one.name.to_string(), output::size(one.size)];
    let containers: Vec<[String; 2]> = usage.containers.iter().map(container).collect();
    output::write("\n")?;
    output::table(["CONTAINER", "SIZE"], &containers)
}

/// The same for programs, all of it, in bytes.
fn listed(usage: &Usage) -> Value {
    let room = |room: Room| json!({"count": room.count, "size": room.bytes});
    let image = |one: &plyfs_store::ImageUsage| {
        json!({
            "name": one.name.as_str(),
            "size": one.size,
            "shared": one.shared,
            "unique": one.unique,
        })
    };
    let container =
        |one: &plyfs_store::ContainerUsage| json!({"name": one.name.as_str(), "size": one.size});
    json!({
        "layers": room(usage.layers),
        "blobs": room(usage.blobs),
        "images": usage.images.iter().map(image).collect::<Vec<_>>(),
        "containers": usage.containers.iter().map(container).collect::<Vec<_>>(),
    })
}

//! `plyfs history`.

use std::path::Path;

use clap::Args;
use plyfs_store::{Digest, ImageConfiguration};
use serde::Serialize;

use super::shared::outlining::outline;
use crate::error::Result;
use crate::registry::{RegistryArgs, TRANSPORT};
use crate::{output, storage};

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The image, or docker:// and an image in a registry, of which only documents are fetched; the sizes are then
    /// those of compressed layers
    #[arg(value_name = "IMAGE|docker://REF")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// A step in the making of an image, as programs read it.
#[derive(Serialize)]
struct Step {
    /// RFC 3339, if the image says.
    created: Option<String>,
    created_by: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    /// The layer that it made, if it made one.
    layer: Option<String>,
    /// Bytes of that layer, uncompressed.
    size: u64,
}

/// Lists how an image was made, the last step first.
pub(crate) fn history(args: &HistoryArgs, store: Option<&Path>) -> Result {
    let steps = match args.image.starts_with(TRANSPORT) {
        true => {
            let (_, outline) = outline(&args.image, &args.registry)?;
            let layers = outline.layers.iter();
            steps(
                &outline.config,
                layers.map(|layer| (layer.diff_id, layer.size)),
            )
        }
        false => {
            let image = storage::open_existing(store)?.image(&args.image)?;
            let layers = image.layers.iter();
            steps(
                &image.config,
                layers.map(|layer| (layer.diff_id, layer.record.size)),
            )
        }
    };
    if args.json {
        return output::json(&steps);
    }
    let text = |field: &Option<String>| output::plain(field.as_deref().unwrap_or_default());
    let row = |step: &Step| {
        [
            output::time(&text(&step.created)),
            shortened(&text(&step.created_by)),
            output::size(step.size),
            shortened(&text(&step.comment)),
        ]
    };
    let rows: Vec<[String; 4]> = steps.iter().map(row).collect();
    output::table(["CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)
}

/// The steps, of a configuration and the layers with their sizes, bottom first.
fn steps(
    config: &ImageConfiguration,
    mut layers: impl Iterator<Item = (Digest, u64)>,
) -> Vec<Step> {
    let told = config.history().iter().flatten();
    let mut steps: Vec<Step> = told
        .map(|entry| {
            let layer = match entry.empty_layer() {
                Some(true) => None,
                _ => layers.next(),
            };
            Step {
                created: entry.created().clone(),
                created_by: entry.created_by().clone(),
                author: entry.author().clone(),
                comment: entry.comment().clone(),
                layer: layer.map(|(diff_id, _)| diff_id.to_string()),
                size: layer.map_or(0, |(_, size)| size),
            }
        })
        .collect();
    // An image need not tell.
    steps.extend(layers.map(|(diff_id, size)| Step {
        created: None,
        created_by: None,
        author: None,
        comment: None,
        layer: Some(diff_id.to_string()),
        size,
    }));
    steps.reverse();
    steps
}

/// As much of a text as has room in a column.
fn shortened(text: &str) -> String {
    const ROOM: usize = 60;
    match text.char_indices().nth(ROOM) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(
            shortened(&"\u{fc}".repeat(61)),
            format!("{}...", "\u{fc}".repeat(60))
        );
    }
}

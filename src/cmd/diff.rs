//! `plyfs diff`.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::shared::changes::{self, Comparison, Kind};
use crate::error::Result;
use crate::{image_mount, output, storage};

/// List what was changed in a container: A for added, C for changed, D for deleted
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// As JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The container
    pub(crate) container: String,
}

/// A change as programs read it.
#[derive(Serialize)]
struct Listed {
    /// `A`, `C` or `D`.
    kind: &'static str,
    path: String,
}

/// Lists what was changed in a container.
pub(crate) fn diff(args: &DiffArgs, store: Option<&Path>) -> Result {
    let location = storage::location(store)?;
    storage::enter_for_owners()?;
    let store = plyfs_store::Store::open_existing(location)?;
    let container = image_mount::existing_container(&store, &args.container)?;
    // A run that begins or ends meanwhile writes or removes the record.
    let mut places = container.places()?;
    let (_, mut changes) = Comparison::open(&container, false)?.changes()?;
    places.extend(container.places()?);
    changes::leave_out(&places, &mut changes);
    let listed: Vec<Listed> = changes
        .iter()
        .map(|(names, change)| Listed {
            kind: match change.kind {
                Kind::Added => "A",
                Kind::Changed => "C",
                Kind::Deleted => "D",
            },
            path: String::from_utf8_lossy(&changes::path_of(names)).into_owned(),
        })
        .collect();
    if args.json {
        return output::json(&listed);
    }
    let line = |change: &Listed| format!("{} {}\n", change.kind, output::plain(&change.path));
    let out: String = listed.iter().map(line).collect();
    output::write(&out)
}

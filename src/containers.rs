//! `plyfs ps`.

use std::path::Path;

use plyfs_store::Store;
use serde::Serialize;

use crate::cli::ListArgs;
use crate::failure::Outcome;
use crate::{output, storage};

/// A container as programs read it.
#[derive(Serialize)]
struct Listed {
    name: String,
    /// The name that its image had.
    image: String,
    /// Digest of the manifest of that.
    image_digest: String,
    /// RFC 3339.
    created: String,
    in_use: bool,
}

/// Lists the containers in the store.
pub(crate) fn containers(args: &ListArgs, store: Option<&Path>) -> Outcome {
    let listed = match storage::open_if_there(storage::location(store)?)? {
        None => Vec::new(),
        Some(store) => listed(&store)?,
    };
    if args.json {
        return output::json(&listed);
    }
    let row = |one: &Listed| {
        let status = if one.in_use { "in use" } else { "" };
        [
            one.name.clone(),
            one.image.clone(),
            output::time(&one.created),
            status.to_owned(),
        ]
    };
    let rows: Vec<[String; 4]> = listed.iter().map(row).collect();
    output::table(["NAME", "IMAGE", "CREATED", "STATUS"], &rows)
}

fn listed(store: &Store) -> Outcome<Vec<Listed>> {
    let mut listed = Vec::new();
    for record in store.containers()? {
        let in_use = store.is_in_use(&record.name);
        listed.push(Listed {
            // Another process may just have removed it.
            in_use: in_use.unwrap_or(false),
            name: record.name.to_string(),
            image: record.image.to_string(),
            image_digest: record.manifest_digest.to_string(),
            created: record.created,
        });
    }
    Ok(listed)
}

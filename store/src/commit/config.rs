//! The configuration and the manifest of an image with a layer on top.
//!
//! Fields of the base image that plyfs does not know are kept as they are, except those in which Docker
//! describes the container that an image was made in: they would describe another one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::change::object;
use super::layer::WrittenLayer;
use super::request::CommitRequest;
use crate::error::{CommitError, Result};
use crate::oci::{Descriptor, IMAGE_CONFIG, MANIFEST, Manifest, layer_media_type, layer_type};
use crate::values::{Digest, to_json};

/// Fields of Docker about the container an image was made in.
const OF_A_CONTAINER: [&str; 5] = [
    "container",
    "container_config",
    "docker_version",
    "id",
    "parent",
];

/// The configuration: that of the base with what the request says.
pub(super) fn configuration(
    base: &[u8],
    layer: &WrittenLayer,
    request: &CommitRequest,
) -> Result<Vec<u8>> {
    let parsed: Value = serde_json::from_slice(base).map_err(|_| CommitError::Base)?;
    let mut config = object(parsed);
    for field in OF_A_CONTAINER {
        config.remove(field);
    }
    let created = request.created.to_rfc3339();
    config.insert("created".to_owned(), json!(created));
    match &request.author {
        Some(author) => drop(config.insert("author".to_owned(), json!(author))),
        None => drop(config.remove("author")),
    }
    let mut runs = object(config.remove("config").unwrap_or_default());
    for change in &request.changes {
        change.apply(&mut runs);
    }
    config.insert("config".to_owned(), Value::Object(runs));
    let below = add_diff_id(&mut config, &layer.diff_id);
    add_history(&mut config, below, &created, request);
    Ok(to_json(&config))
}

/// Adds the layer to those the configuration names, and says how many there were.
fn add_diff_id(config: &mut Map<String, Value>, diff_id: &Digest) -> usize {
    let mut rootfs = object(config.remove("rootfs").unwrap_or_default());
    let mut ids = match rootfs.remove("diff_ids") {
        Some(Value::Array(ids)) => ids,
        _ => Vec::new(),
    };
    let below = ids.len();
    ids.push(json!(diff_id));
    rootfs.insert("type".to_owned(), json!("layers"));
    rootfs.insert("diff_ids".to_owned(), Value::Array(ids));
    config.insert("rootfs".to_owned(), Value::Object(rootfs));
    below
}

/// Adds an entry to the history. Tools count those of layers, so that a base without a history, or
/// with half of one, gets it filled up.
fn add_history(
    config: &mut Map<String, Value>,
    below: usize,
    created: &str,
    request: &CommitRequest,
) {
    let mut history = match config.remove("history") {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    let is_empty = |entry: &&Value| entry.get("empty_layer") == Some(&json!(true));
    let told = history.iter().filter(|entry| !is_empty(entry)).count();
    for _ in told..below {
        history.push(json!({"comment": "a layer without a history"}));
    }
    let mut entry = json!({"created": created, "created_by": "plyfs commit"});
    if let Some(author) = &request.author {
        entry["author"] = json!(author);
    }
    if let Some(message) = &request.message {
        entry["comment"] = json!(message);
    }
    history.push(entry);
    config.insert("history".to_owned(), Value::Array(history));
}

/// The manifest: the layers of the base, and the new one.
pub(super) fn manifest(base: &Manifest, config: &[u8], layer: &WrittenLayer) -> Manifest {
    let below = base.layers.iter().map(|below| {
        // The media types of Docker have no place in a manifest of OCI.
        let media_type = layer_type(&below.media_type).map(layer_media_type);
        Descriptor {
            media_type: media_type.unwrap_or_else(|| below.media_type.clone()),
            ..below.clone()
        }
    });
    let own = layer_media_type(layer.compression);
    let own = Descriptor::new(&own, layer.digest, layer.size);
    Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: Descriptor::new(IMAGE_CONFIG, Digest::of(config), config.len() as u64),
        layers: below.chain([own]).collect(),
        other: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Compression;
    use crate::values::Timestamp;

    fn layer() -> WrittenLayer {
        WrittenLayer {
            diff_id: Digest::of(b"diff"),
            digest: Digest::of(b"blob"),
            size: 9,
            compression: Compression::Zstd,
        }
    }

    fn request() -> CommitRequest {
        CommitRequest {
            author: Some("me".to_owned()),
            message: Some("why".to_owned()),
            created: Timestamp::from_seconds(0),
            ..CommitRequest::new("x:1".parse().unwrap(), crate::Ownership::Override)
        }
    }

    #[test]
    fn what_is_not_understood_is_kept_and_the_history_counts_layers() {
        let base = json!({
            "architecture": "amd64", "os": "linux", "variant": "v3", "unknown": {"a": 1},
            "container": "abc", "config": {"Env": ["A=1"], "Healthcheck": {"Test": ["x"]}},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:a", "sha256:b"]},
            "history": [{"created_by": "one"}, {"created_by": "none", "empty_layer": true}],
        });
        let made = configuration(&to_json(&base), &layer(), &request()).unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(made["unknown"], json!({"a": 1}));
        assert_eq!(made["config"], base["config"]);
        assert_eq!(made.get("container"), None);
        assert_eq!(made["created"], "1970-01-01T00:00:00Z");
        assert_eq!(made["rootfs"]["diff_ids"][2], json!(Digest::of(b"diff")));
        let history = made["history"].as_array().unwrap();
        assert_eq!(history.len(), 4);
        assert_eq!(
            history[3],
            json!({"created": "1970-01-01T00:00:00Z", "created_by": "plyfs commit",
                "author": "me", "comment": "why"})
        );
    }
}

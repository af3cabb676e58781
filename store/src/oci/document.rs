//! Parsing indexes, manifests and configurations.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::descriptor::Descriptor;
use super::media::{DocumentType, INDEX, is_config, may_be_layer};
use super::platform::UNKNOWN_ARCHITECTURE;
use crate::values::{Digest, DigestError, escaped, limits};

/// A document that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {}", escaped(document), escaped(why))]
pub struct DocumentError {
    /// Which document.
    pub document: String,
    /// What is wrong with it.
    pub why: String,
}

/// An image index, or the manifest list of Docker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    /// Entries with digests of other kinds, which are kept and not used.
    #[serde(skip)]
    pub(crate) foreign: Vec<Value>,
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, serde_json::Value>,
}

impl Index {
    /// An index without images.
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: Vec::new(),
            foreign: Vec::new(),
            other: BTreeMap::new(),
        }
    }

    /// The index as it is written, with what is not understood here.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        if self.foreign.is_empty() {
            return crate::values::to_json(self);
        }
        let mut index = serde_json::to_value(self).unwrap_or_default();
        if let Some(Value::Array(manifests)) = index.get_mut("manifests") {
            manifests.extend(self.foreign.iter().cloned());
        }
        crate::values::to_json(&index)
    }
}

/// Takes out of an index what has a digest of a kind that is valid and not supported here. It
/// does not concern other images of the index.
fn split_foreign(index: &mut Value) -> Vec<Value> {
    let is_foreign = |entry: &Value| {
        let digest = entry.get("digest").and_then(Value::as_str);
        let digest = digest.map(str::parse::<Digest>);
        matches!(digest, Some(Err(DigestError::Algorithm(_))))
    };
    let Some(Value::Array(entries)) = index.get_mut("manifests") else {
        return Vec::new();
    };
    let (foreign, own) = std::mem::take(entries).into_iter().partition(is_foreign);
    *entries = own;
    foreign
}

/// An image manifest of OCI or Docker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    /// Absent in some images that have none.
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, serde_json::Value>,
}

/// Finds out what kind of document this is, from the media type of its descriptor, from what it
/// says itself, and from what it holds. All of them must agree.
pub(crate) fn kind_of(
    bytes: &[u8],
    declared: &str,
    document: &str,
) -> Result<DocumentType, DocumentError> {
    #[derive(Deserialize)]
    struct Own {
        #[serde(rename = "mediaType", default)]
        media_type: Option<String>,
    }
    let fields: BTreeMap<String, IgnoredAny> = parse(bytes, document)?;
    let own: Own = parse(bytes, document)?;
    // An image without layers may have no such field.
    let is_manifest =
        holds(&fields, "layers") || (holds(&fields, "config") && !holds(&fields, "manifests"));
    let kind = match (holds(&fields, "manifests"), is_manifest) {
        (true, false) => DocumentType::Index,
        (false, true) => DocumentType::Manifest,
        (true, true) => return refuse(document, "it is both a manifest and an index"),
        (false, false) => return refuse(document, "it is neither a manifest nor an index"),
    };
    let foreign: &[&str] = match kind {
        DocumentType::Index => &["config", "fsLayers", "history"],
        DocumentType::Manifest => &["fsLayers", "history"],
    };
    for field in foreign {
        if holds(&fields, field) {
            let why = format!("it is {} with the field \"{field}\"", kind.name());
            return refuse(document, &why);
        }
    }
    check_spelling(&fields, document)?;
    for media_type in [Some(declared), own.media_type.as_deref()] {
        let media_type = media_type.unwrap_or_default();
        match DocumentType::of(media_type) {
            Some(named) if named != kind => {
                let (named, kind) = (named.name(), kind.name());
                let why = format!("its media type is that of {named}, but it is {kind}");
                return refuse(document, &why);
            }
            None if !media_type.is_empty() => {
                return refuse(
                    document,
                    &format!("its media type \"{media_type}\" is unknown"),
                );
            }
            _ => {}
        }
    }
    Ok(kind)
}

/// Whether the document has the field, in any spelling: the JSON reader of Go, which most tools of
/// this field are written in, disregards case.
fn holds(fields: &BTreeMap<String, IgnoredAny>, field: &str) -> bool {
    fields.keys().any(|key| key.eq_ignore_ascii_case(field))
}

/// Refuses fields that another reader could take for one that counts.
fn check_spelling(
    fields: &BTreeMap<String, IgnoredAny>,
    document: &str,
) -> Result<(), DocumentError> {
    const FIELDS: [&str; 5] = [
        "schemaVersion",
        "mediaType",
        "manifests",
        "config",
        "layers",
    ];
    for key in fields.keys() {
        let same = FIELDS.iter().find(|field| key.eq_ignore_ascii_case(field));
        if same.is_some_and(|field| key != field) {
            return refuse(document, &format!("the field \"{key}\" is misspelt"));
        }
    }
    Ok(())
}

/// Reads an index. What kind of document it is has been checked.
pub(crate) fn index_of(bytes: &[u8], document: &str) -> Result<Index, DocumentError> {
    let mut value: Value = parse(bytes, document)?;
    let foreign = split_foreign(&mut value);
    let index = serde_json::from_value(value).map_err(|error| DocumentError {
        document: document.to_owned(),
        why: error.to_string(),
    });
    let index = Index { foreign, ..index? };
    check_version(index.schema_version, document)?;
    Ok(index)
}

/// Reads a manifest. What kind of document it is has been checked; here it is made sure that it is
/// of an image that can be unpacked.
pub(crate) fn manifest_of(bytes: &[u8], document: &str) -> Result<Manifest, DocumentError> {
    let manifest: Manifest = parse(bytes, document)?;
    check_version(manifest.schema_version, document)?;
    let config = &manifest.config.media_type;
    if !is_config(config) {
        let why =
            format!("not an image, but an artifact with a configuration of type \"{config}\"");
        return refuse(document, &why);
    }
    if manifest.layers.len() > limits::LAYERS {
        return refuse(document, &format!("more than {} layers", limits::LAYERS));
    }
    for layer in &manifest.layers {
        if !may_be_layer(&layer.media_type) {
            let why = format!("layers of type \"{}\" are not supported", layer.media_type);
            return refuse(document, &why);
        }
    }
    Ok(manifest)
}

fn check_version(version: u32, document: &str) -> Result<(), DocumentError> {
    match version {
        2 => Ok(()),
        other => refuse(
            document,
            &format!("schema version {other} is not supported"),
        ),
    }
}

/// Reads the configuration of an image.
pub(crate) fn parse_config(
    bytes: &[u8],
    document: &str,
) -> Result<ImageConfiguration, DocumentError> {
    let value: Value = parse(bytes, document)?;
    let config = serde_json::from_value(completed(value)).map_err(|error| DocumentError {
        document: document.to_owned(),
        why: error.to_string(),
    });
    let config: ImageConfiguration = config?;
    if config.rootfs().typ() != "layers" {
        let why = format!("its file system is of type \"{}\"", config.rootfs().typ());
        return refuse(document, &why);
    }
    Ok(config)
}

/// A configuration with what real ones leave out: builders that write Go's `null` for an empty list
/// or map, images of nothing but settings without `rootfs`, and such without a platform.
fn completed(config: Value) -> Value {
    let Value::Object(mut config) = config else {
        return config;
    };
    // Linux is all that can be mounted here; the architecture is not known.
    config.entry("os").or_insert_with(|| "linux".into());
    let unknown = || UNKNOWN_ARCHITECTURE.into();
    config.entry("architecture").or_insert_with(unknown);
    if let Value::Object(rootfs) = config.entry("rootfs").or_insert_with(|| json!({})) {
        rootfs.entry("type").or_insert_with(|| "layers".into());
        rootfs.entry("diff_ids").or_insert_with(|| json!([]));
    }
    Value::Object(config)
}

/// Reads JSON as the tools do that are written in Go, which wrote most of it: of doubled keys the last
/// counts, and `null` is what is not there. In a set of names it is a name.
fn parse<T: DeserializeOwned>(bytes: &[u8], document: &str) -> Result<T, DocumentError> {
    let value = serde_json::from_slice(bytes).map(|value| without_nulls(value, false));
    value
        .and_then(serde_json::from_value)
        .map_err(|error| DocumentError {
            document: document.to_owned(),
            why: error.to_string(),
        })
}

/// Removes the members of objects that are `null`; in a set they become empty objects. Nesting is
/// bounded by the reader of JSON.
fn without_nulls(value: Value, is_set: bool) -> Value {
    /// Fields that are maps from names to nothing.
    const SETS: [&str; 2] = ["Volumes", "ExposedPorts"];
    match value {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(_, value)| is_set || !value.is_null());
            let cleaned = kept.map(|(key, value)| {
                // The names in a set are not fields, whatever they are called.
                let inner = match is_set {
                    true if value.is_null() => json!({}),
                    _ => without_nulls(value, !is_set && SETS.contains(&key.as_str())),
                };
                (key, inner)
            });
            Value::Object(cleaned.collect())
        }
        Value::Array(items) => {
            let items = items.into_iter().map(|item| without_nulls(item, false));
            Value::Array(items.collect())
        }
        other => other,
    }
}

pub(crate) fn refuse<T>(document: &str, why: &str) -> Result<T, DocumentError> {
    Err(DocumentError {
        document: document.to_owned(),
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::media::MANIFEST;
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn kind(json: &str, declared: &str) -> Result<DocumentType, String> {
        kind_of(json.as_bytes(), declared, "d").map_err(|error| error.why)
    }

    #[test]
    fn a_document_is_one_thing() {
        use DocumentType::{Index, Manifest};
        for (json, declared, expected) in [
            (r#"{"manifests":[]}"#, INDEX, Some(Index)),
            (r#"{"manifests":[]}"#, "", Some(Index)),
            (r#"{"layers":[],"config":{}}"#, MANIFEST, Some(Manifest)),
            (
                r#"{"layers":[],"config":{},"annotations":{}}"#,
                MANIFEST,
                Some(Manifest),
            ),
            (r#"{"layers":[],"manifests":[]}"#, MANIFEST, None),
            (r#"{"layers":[],"Manifests":[]}"#, MANIFEST, None),
            (r#"{"manifests":[],"config":{}}"#, INDEX, None),
            (r#"{"layers":[],"fsLayers":[]}"#, MANIFEST, None),
            (r#"{"layers":[],"LAYERS":[]}"#, MANIFEST, None),
            (r#"{"layers":[],"mediatype":"x"}"#, MANIFEST, None),
            (r#"{"manifests":[]}"#, MANIFEST, None),
            (r#"{"layers":[]}"#, INDEX, None),
            (r#"{"layers":[]}"#, "application/json", None),
            (
                r#"{"layers":[],"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
                MANIFEST,
                None,
            ),
            (r#"{"layers":[],"mediaType":"text/html"}"#, "", None),
            (r#"{}"#, "", None),
            (r#"[]"#, "", None),
            ("", "", None),
            (r#"{"layers":[]}}"#, MANIFEST, None),
        ] {
            assert_eq!(kind(json, declared).ok(), expected, "{json} as {declared}");
        }
    }

    fn manifest(config: &str, layer: &str) -> Result<Manifest, DocumentError> {
        let json = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{DIGEST}","size":0}},
            "layers":[{{"mediaType":"{layer}","digest":"{DIGEST}","size":0,"urls":["x"]}}]}}"#
        );
        manifest_of(json.as_bytes(), "manifest")
    }

    #[test]
    fn only_images_are_taken() {
        let config = "application/vnd.oci.image.config.v1+json";
        let layer = "application/vnd.oci.image.layer.v1.tar";
        assert!(manifest(config, layer).is_ok());
        for (config, layer, said) in [
            ("application/vnd.oci.empty.v1+json", layer, "artifact"),
            (
                config,
                "application/vnd.oci.image.layer.v1.tar+encrypted",
                "not supported",
            ),
            (config, "text/\\u001b[2J", "\\u{1b}[2J"),
        ] {
            let error = manifest(config, layer).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn digests_are_checked_while_parsing() {
        for digest in ["sha256:../../x", "sha256:00", "md5:00"] {
            let json = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"","digest":"{digest}","size":1}}]}}"#
            );
            let error = index_of(json.as_bytes(), "index.json").unwrap_err();
            assert!(error.to_string().contains("not a digest"), "{error}");
        }
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{DIGEST}","size":1,"urls":["u"]}}],"annotations":{{"a":"b"}}}}"#
        );
        let index = index_of(json.as_bytes(), "index.json").unwrap();
        let again = serde_json::to_value(&index).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        );
    }
}

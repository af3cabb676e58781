//! What the index, the containers and single documents lead to.
//!
//! # Invariants
//!
//! - A damaged document takes nothing away: what it led to is found by its digest if one bit of it was flipped,
//!   and else by the digests that can still be read in it. [`Reach::damaged`] counts the documents that were not
//!   read whole, and with one of them it is not known what is needed.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use crate::disk::{Content, Store, blob_label, read_record, restored};
use crate::error::{Context, Result};
use crate::values::{ContainerRecord, Digest, limits, restore_bit};

/// What is needed.
pub(crate) struct Reach<'s> {
    store: &'s Store,
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) layers: HashSet<Digest>,
    /// How many documents and records were not read whole.
    pub(crate) damaged: usize,
    /// How many containers have a record that cannot be read, so that it is not known what they stand on.
    pub(crate) lost_containers: usize,
}

impl<'s> Reach<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self {
            store,
            blobs: HashSet::new(),
            layers: HashSet::new(),
            damaged: 0,
            lost_containers: 0,
        }
    }

    /// Follows the index and all containers.
    ///
    /// # Errors
    /// If the index is lost, or a directory cannot be listed.
    pub(crate) fn everything(&mut self) -> Result<()> {
        for descriptor in self.store.index()?.manifests {
            self.document(&descriptor.digest, 0);
        }
        let dir = self.store.containers_dir();
        for entry in std::fs::read_dir(&dir).context("list", &dir)? {
            let path = entry.context("list", &dir)?.path().join("container.json");
            if !path.exists() {
                continue;
            }
            match container(&path) {
                Some(record) => {
                    self.layers.extend(&record.diff_ids);
                    self.document(&record.manifest_digest, 0);
                }
                None => self.lost_containers += 1,
            }
        }
        Ok(())
    }

    /// Follows an index or a manifest. One that is not there leads nowhere.
    pub(crate) fn document(&mut self, digest: &Digest, depth: usize) {
        if depth > limits::INDEX_DEPTH || !self.blobs.insert(*digest) {
            return;
        }
        match self.read(digest) {
            Read::Missing => {}
            Read::Damaged(bytes) => self.mentioned(&bytes, depth),
            Read::Whole(document) => self.follow(&document, depth),
        }
    }

    fn follow(&mut self, document: &Value, depth: usize) {
        for field in ["manifests", "subject"] {
            for inner in digests(document, field) {
                self.document(&inner, depth + 1);
            }
        }
        for field in ["layers", "blobs"] {
            self.blobs.extend(digests(document, field));
        }
        for config in digests(document, "config") {
            self.blobs.insert(config);
            self.configuration(document, &config);
        }
    }

    /// The layers that a configuration names.
    fn configuration(&mut self, manifest: &Value, digest: &Digest) {
        let media_type = manifest["config"]["mediaType"].as_str().unwrap_or_default();
        if !media_type.is_empty() && !crate::oci::is_config(media_type) {
            return;
        }
        match self.read(digest) {
            Read::Missing => {}
            Read::Damaged(bytes) => self.mentioned(&bytes, limits::INDEX_DEPTH),
            Read::Whole(document) => self.layers_of(&document),
        }
    }

    fn layers_of(&mut self, configuration: &Value) {
        let ids = configuration["rootfs"]["diff_ids"]
            .as_array()
            .into_iter()
            .flatten();
        let ids = ids.filter_map(|id| id.as_str()?.parse::<Digest>().ok());
        self.layers.extend(ids);
    }

    /// Keeps what a damaged document mentions: any digest in it may be a blob, a layer or another document.
    fn mentioned(&mut self, bytes: &[u8], depth: usize) {
        self.damaged += 1;
        for digest in digests_in(bytes) {
            self.layers.insert(digest);
            if depth > limits::INDEX_DEPTH || !self.blobs.insert(digest) {
                continue;
            }
            if let Read::Whole(document) = self.read(&digest) {
                self.follow(&document, depth + 1);
                self.layers_of(&document);
            }
        }
    }

    /// Reads a document and verifies it: a damaged one could hide what it leads to.
    fn read(&self, digest: &Digest) -> Read {
        let label = blob_label(digest);
        let content = match self.store.blob(digest) {
            Ok(Some(content)) => content,
            Ok(None) => return Read::Missing,
            Err(error) => {
                log::warn!("{error}");
                return Read::Damaged(Vec::new());
            }
        };
        // A layer that a damaged document mentions is no document.
        if !starts_as_document(&content) && content.len() > limits::CONFIG_BYTES {
            return Read::Damaged(Vec::new());
        }
        let bytes = match content.read_all(&label, limits::CONFIG_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                log::warn!("{error}");
                return Read::Damaged(Vec::new());
            }
        };
        let whole = if Digest::of(&bytes) == *digest {
            Some(bytes.clone())
        } else {
            log::warn!("{label} is damaged");
            restore_bit(&bytes, |bytes| Digest::of(bytes) == *digest)
        };
        let document = whole.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        document.map_or(Read::Damaged(bytes), Read::Whole)
    }
}

/// The record of a container, also if one bit of it was flipped.
fn container(path: &Path) -> Option<ContainerRecord> {
    let error = match read_record(path) {
        Ok(record) => return Some(record),
        Err(error) => error,
    };
    log::warn!("{error}");
    restored(path).map(|(_, record)| record)
}

enum Read {
    Missing,
    Whole(Value),
    /// What can be read of it.
    Damaged(Vec<u8>),
}

pub(crate) fn starts_as_document(content: &Content) -> bool {
    content.start::<1>().is_ok_and(|start| start == b"{")
}

/// The digests of a descriptor, or of a list of them.
fn digests(document: &Value, field: &str) -> Vec<Digest> {
    let value = &document[field];
    let descriptors = match value {
        Value::Array(list) => list.iter().collect(),
        other => vec![other],
    };
    let digest = |one: &Value| one["digest"].as_str()?.parse().ok();
    descriptors.into_iter().filter_map(digest).collect()
}

/// All runs of exactly 64 hexadecimal digits.
fn digests_in(bytes: &[u8]) -> Vec<Digest> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let runs = bytes.split(|byte| !is_digit(byte));
    let text = runs.filter_map(|run| str::from_utf8(run).ok());
    text.filter_map(Digest::from_hex).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_what_is_no_json_any_more() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!("{{\"x\":\"{a}\",\u{1}\"{b}\"; {}0", a.hex());
        assert_eq!(digests_in(text.as_bytes()), [a, b]);
    }
}

//! `plyfs import` and `plyfs images`.

mod importing;
mod listing;
mod names;
mod place;
mod progress;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::world::{World, names};
use crate::support::*;
use plyfs_store::fixture::{Config, EncodedLayer, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Platform};
use serde_json::Value;

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn layer(text: &str) -> Layer {
    Layer::new([
        Entry::dir("."),
        Entry::dir("d"),
        Entry::file("d/f", text.repeat(5000)),
    ])
}

fn image(text: &str, compression: Compression) -> ImageBuilder {
    ImageBuilder::new()
        .layer(layer(text), compression)
        .layer(Layer::new([Entry::file("top", "top")]), compression)
}

/// Runs a command that must succeed and have nothing to say on standard error.
fn quiet(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(text(&output.stderr), "", "{command:?}");
    assert!(output.status.success(), "{command:?}");
    text(&output.stdout)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn listed(world: &World) -> Value {
    json(&quiet(&mut world.plyfs(["images", "--json"])))
}

/// A blob of the store, which must have the digest of its name.
fn blob(world: &World, digest: &Value) -> Vec<u8> {
    let digest = digest.as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let bytes = fs::read(world.store("blobs/sha256").join(hex)).unwrap();
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    bytes
}

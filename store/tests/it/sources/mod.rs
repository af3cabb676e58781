//! Every form an image can have outside the store, and how one of several is chosen.

mod docker;
mod forms;
mod names;
mod platforms;
mod refused;

use std::fs;
use std::path::Path;

use crate::support::tarball::Tar;
use crate::support::{self, World, import, message, request};
use plyfs_store::fixture::{Config, Entry, ImageBuilder, Layer};
use plyfs_store::{Compression, Digest, Error, Imported, Ownership, Platform, Silent};
use serde_json::{Value, json};

/// An image of two layers that tells from which text it was made.
fn image(text: &str) -> ImageBuilder {
    let base = Layer::new([Entry::dir("etc"), Entry::file("etc/base", "base")]);
    let top = Layer::new([Entry::file("top", text)]);
    ImageBuilder::new()
        .layer(base, Compression::Gzip)
        .layer(top, Compression::Zstd)
}

fn for_platform(text: &str, platform: &str) -> ImageBuilder {
    let platform: Platform = platform.parse().unwrap();
    image(text).config(Config {
        platform,
        ..Config::default()
    })
}

/// What the topmost layer of an image says.
fn top(world: &World, name: &str) -> String {
    fs::read_to_string(world.layers(name).pop().unwrap().join("top")).unwrap()
}

fn source(form: &str, path: &Path, tag: &str) -> String {
    match tag {
        "" => format!("{form}:{}", path.display()),
        tag => format!("{form}:{}:{tag}", path.display()),
    }
}

fn said(result: Result<Imported, Error>) -> String {
    message(&result.unwrap_err())
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes a document among the blobs of a layout, and returns its descriptor.
fn add_blob(dir: &Path, media_type: &str, document: &Value) -> Value {
    let bytes = serde_json::to_vec(document).unwrap();
    let digest = Digest::of(&bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
}

//! The bodies of the fuzz targets: plain functions that take bytes and panic when a property does not hold.
//!
//! `fuzz/libfuzzer` calls them from libFuzzer, which needs a nightly compiler; `fuzz/tests/targets.rs` calls
//! them on stable, over the seeds and over deterministic mutations of them. See `fuzz/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fuzz target reports a fault by a panic"
)]

mod archive;
mod decompression;
mod documents;
mod layers;
mod lines;
mod mount;
mod mutate;
mod records;
mod tar_reader;
mod unpack;
mod world;

// Parsers that no public item of their crate reaches alone, included as they are.
#[path = "../../src/error.rs"]
#[allow(dead_code, reason = "part of it is used")]
mod error;
#[path = "../../store/src/tar/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the reader is used, the writer is not"
)]
mod tar;
/// What the reader of archives needs of the store's plain values.
#[path = "../../store/src/values"]
#[allow(dead_code, unreachable_pub, reason = "part of them is used")]
mod values {
    mod errno;
    mod escape;
    pub(crate) mod limits;
    mod time;

    pub(crate) use errno::reason;
    pub(crate) use escape::escaped;
    pub(crate) use time::Timestamp;
}

pub use mutate::Mutator;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its directory below `fuzz/seeds`.
    pub name: &'static str,
    /// Runs it once. Panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Lists of words that a mutation may put in.
    pub words: &'static [&'static [&'static str]],
}

/// What a mutation puts into documents and records: JSON, and digests of the image in the store.
const JSON: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
    "true",
    "-1",
    "18446744073709551616",
    "1e400",
    "..",
    "\\u0000",
    "@DIFF@",
    "@MANIFEST@",
];

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "tar_reader",
        run: tar_reader::run,
        words: &[tar_reader::WORDS],
    },
    Target {
        name: "unpack",
        run: unpack::run,
        words: &[unpack::WORDS],
    },
    Target {
        name: "documents",
        run: documents::run,
        words: &[JSON, documents::WORDS],
    },
    Target {
        name: "records",
        run: records::run,
        words: &[JSON, records::WORDS],
    },
    Target {
        name: "mount_options",
        run: mount::run,
        words: &[&mount::option_table::NAMES, mount::WORDS],
    },
    Target {
        name: "layers",
        run: layers::run,
        words: &[layers::WORDS],
    },
    Target {
        name: "decompression",
        run: decompression::run,
        words: &[],
    },
];

/// Runs one target by its name, for libFuzzer.
///
/// # Panics
/// If there is no target of that name, or if a property does not hold.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}

/// A message that reaches a user: one line without control characters.
fn check_message(message: &str) {
    assert!(!message.is_empty(), "an error without a message");
    assert!(
        !message.chars().any(char::is_control),
        "a message with control characters: {message:?}"
    );
}

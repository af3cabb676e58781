//! The layout of the code: floors without circles, files and functions of a readable length.
//!
//! `cargo test --test it house::` shows each import that breaks a rule.

mod circles;
mod functions;
mod imports;

use std::fs;
use std::path::{Path, PathBuf};

use circles::{circles, ties};
use imports::Crate;

/// The root file of each crate.
const CRATES: [&str; 7] = [
    "src/main.rs",
    "fs/src/lib.rs",
    "fs/fuse/src/lib.rs",
    "fs/format/src/lib.rs",
    "fs/sys/src/lib.rs",
    "store/src/lib.rs",
    "store/registry/src/lib.rs",
];

/// Folders and files of some crates from the lowest floor to the highest. What is not named may stand anywhere that
/// makes no circle.
const FLOORS: [(&str, &[&str]); 2] = [
    (
        "fs/src/lib.rs",
        &[
            "types",
            "error",
            "config",
            "open_error",
            "disk",
            "layer",
            "inode",
            "overlay",
            "ops",
        ],
    ),
    (
        "store/src/lib.rs",
        &[
            "values",
            "tar",
            "oci",
            "decode",
            "remote",
            "error",
            "progress",
            "disk",
            "source",
            "unpack",
            "image",
            "import",
            "commit",
            "save",
            "collect",
            "container",
            "live",
            "check",
            "fixture",
        ],
    ),
];

/// What a crate of ours may use of the others.
const BELOW: [(&str, &[&str]); 6] = [
    ("fs/sys/Cargo.toml", &[]),
    ("fs/format/Cargo.toml", &[]),
    ("fs/Cargo.toml", &["plyfs-format", "plyfs-sys"]),
    ("fs/fuse/Cargo.toml", &["plyfs-fs", "plyfs-sys"]),
    ("store/Cargo.toml", &["plyfs-format", "plyfs-sys"]),
    ("store/registry/Cargo.toml", &[]),
];

/// No file is longer, in lines.
const LONGEST_FILE: usize = 500;
/// Nine functions in ten are shorter, in lines.
const SHORT_FUNCTION: usize = 30;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All source files below a folder of the repository.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![repository().join(folder)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name() != Some("target".as_ref()) {
                open.push(path);
            } else if path.extension() == Some("rs".as_ref()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_files_or_folders_import_each_other_in_a_circle() {
    let mut report = String::new();
    for root in CRATES {
        for circle in circles(&Crate::read(&repository().join(root)).edges()) {
            report += &format!(
                "{root}, in /{}: {}\n",
                circle.folder.display(),
                circle.members.join(" ")
            );
            for edge in circle.edges {
                report += &format!(
                    "    {} -> {} ({})\n",
                    edge.from.display(),
                    edge.to.display(),
                    edge.path
                );
            }
        }
    }
    assert!(report.is_empty(), "circles of imports:\n{report}");
}

#[test]
fn floors_import_only_what_is_below_them() {
    let mut report = String::new();
    for (root, floors) in FLOORS {
        let edges = Crate::read(&repository().join(root)).edges();
        let ties = ties(&edges).remove(Path::new("")).unwrap_or_default();
        let floor = |member: &str| {
            floors
                .iter()
                .position(|name| *name == member.trim_end_matches(".rs"))
        };
        for ((from, to), edges) in ties {
            if floor(&from) < floor(&to) && floor(&from).is_some() {
                report += &format!("{root}: {from} -> {to} ({})\n", edges[0].path);
            }
        }
    }
    assert!(report.is_empty(), "imports that point up:\n{report}");
}

#[test]
fn crates_depend_only_on_those_below_them() {
    for (manifest, below) in BELOW {
        let text = fs::read_to_string(repository().join(manifest)).unwrap();
        let own = text.split("[dev-dependencies]").next().unwrap();
        for line in own.lines().filter(|line| line.starts_with("plyfs-")) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            assert!(
                below.contains(&name),
                "{manifest} must not depend on {name}"
            );
        }
        let is_adapter = manifest == "fs/fuse/Cargo.toml";
        assert!(
            is_adapter || !own.contains("fuser"),
            "{manifest} must not know the FUSE library"
        );
    }
}

#[test]
fn no_file_is_too_long() {
    let mut report = String::new();
    for folder in ["src", "fs", "store", "tests", "benches", "fuzz"] {
        for file in sources(folder) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            if lines >= LONGEST_FILE {
                report += &format!("    {}: {lines} lines\n", file.display());
            }
        }
    }
    assert!(
        report.is_empty(),
        "files of {LONGEST_FILE} lines or more:\n{report}"
    );
}

#[test]
fn nine_functions_in_ten_are_short() {
    for folder in [
        "src",
        "fs/src",
        "fs/fuse/src",
        "fs/format/src",
        "fs/sys/src",
        "store/src",
    ] {
        let files = sources(folder);
        let mut all: Vec<_> = files
            .iter()
            .flat_map(|file| functions::functions(file))
            .collect();
        all.sort_by_key(|function| function.lines);
        let ninth = &all[all.len() * 9 / 10];
        assert!(
            ninth.lines < SHORT_FUNCTION,
            "{folder}: nine functions in ten are shorter than {} lines, not {SHORT_FUNCTION}, as {} shows",
            ninth.lines,
            ninth.name
        );
    }
}

//! SEMANTICS.md names the tests that execute it: they must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all functions marked as tests below a directory.
fn tests_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                tests_below(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let marked = text.split("#[test]").skip(1);
            found.extend(marked.filter_map(|after| {
                let name = after.split_once("fn ")?.1.split_once('(')?.0;
                Some(name.to_owned())
            }));
        }
    }
}

#[test]
fn every_line_has_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for dir in ["tests", "fs", "store", "src"] {
        tests_below(&root.join(dir), &mut tests);
    }
    let text = fs::read_to_string(root.join("SEMANTICS.md")).unwrap();
    let (holds, _) = text.split_once("# What differs").unwrap();
    let mut lines = 0;
    for row in holds.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        if cells[0].trim() == "what" {
            continue;
        }
        lines += 1;
        let named = cells.last().unwrap().split(',');
        for name in named.map(|name| name.trim().trim_matches(['`', '|', ' '])) {
            assert!(tests.contains(name), "there is no test {name:?}: {row}");
        }
    }
    assert!(lines > 40, "only {lines} lines were read");
}

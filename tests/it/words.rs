//! Comments, messages, names and documents use plain words (CONTRIBUTING.md, "Language").
//!
//! The files in `words/unswept.txt` still have dropped words. That list only shrinks: it must not name a file that
//! has none left, or one that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Words that hide who does what.
const DROPPED: [&str; 8] = [
    "whoever",
    "somebody",
    "nobody",
    "all the same",
    "is had",
    "is told",
    "anew",
    "for who holds",
];

/// The user of this name, as a constant: the one meaning of the word that stays.
const USER: &str = "NOBODY";

/// Files that have to name the words.
const EXEMPT: [&str; 3] = ["tests/it/words.rs", "CONTRIBUTING.md", "Cargo.lock"];

/// Where there is no text of ours.
const SKIPPED_DIRS: [&str; 2] = [".git", "target"];

/// The words of a text in lower case, each with its line. Punctuation stands between them as an empty word, so
/// that a phrase does not go across it; the signs of comments and the underscores of names do not.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut word = String::new();
        for char in line.chars().chain([' ']) {
            if char.is_alphanumeric() {
                word.push(char);
                continue;
            }
            if !word.is_empty() {
                let plain = match word == USER {
                    true => String::new(),
                    false => word.to_lowercase(),
                };
                found.push((number + 1, plain));
                word.clear();
            }
            if !char.is_whitespace() && !"_/*#!".contains(char) {
                found.push((number + 1, String::new()));
            }
        }
    }
    found
}

/// The dropped words in a text, each with its line.
fn dropped(text: &str) -> Vec<(usize, &'static str)> {
    let words = words(text);
    let mut found = Vec::new();
    for phrase in DROPPED {
        let parts: Vec<_> = phrase.split(' ').collect();
        for window in words.windows(parts.len()) {
            if window.iter().map(|(_, word)| word).eq(parts.iter()) {
                found.push((window[0].0, phrase));
            }
        }
    }
    found.sort_unstable();
    found
}

/// The paths of all files below a directory of the repository.
fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name());
        if kind.is_dir() {
            if SKIPPED_DIRS.iter().all(|skipped| name != *skipped) {
                files_below(&entry.path(), found);
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

#[test]
fn dropped_words_are_found_in_comments_names_and_across_lines() {
    let text = "/// Waits until it is\n/// told.\nfn a_file_is_made_anew() {}\n\"Nobody\"";
    assert_eq!(
        dropped(text),
        [(1, "is told"), (3, "anew"), (4, "nobody")],
        "{:?}",
        words(text)
    );
    assert_eq!(dropped("what it is. Told by NOBODY renewed"), []);
}

#[test]
fn dropped_words_are_only_in_files_not_yet_swept() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/it/words/unswept.txt")).unwrap();
    let unswept: BTreeSet<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let mut files = Vec::new();
    files_below(root, &mut files);
    assert!(files.len() > 300, "only {} files were read", files.len());

    let mut stale = unswept.clone();
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap();
        if EXEMPT.contains(&path) {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let found = dropped(&text);
        if found.is_empty() {
            continue;
        }
        if unswept.contains(path) {
            stale.remove(path);
            continue;
        }
        wrong.extend(
            found
                .iter()
                .map(|(line, phrase)| format!("{path}:{line}: \"{phrase}\"")),
        );
    }
    assert!(
        wrong.is_empty(),
        "name who acts instead (CONTRIBUTING.md, \"Language\"):\n{}",
        wrong.join("\n")
    );
    assert!(
        stale.is_empty(),
        "these have no dropped words, or do not exist: take them off tests/it/words/unswept.txt:\n{}",
        Vec::from_iter(stale).join("\n")
    );
}

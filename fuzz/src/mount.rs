//! Mount options, by the parser of the program as it is.
//!
//! Each line of the input is an argument of `-o`. Besides, the lines are taken for the paths of layers, which must
//! come out of the parser as they were before they were escaped.

use std::path::PathBuf;

use rustix::mount::MountFlags;

use crate::check_message;

#[path = "../../src/mount/option_table.rs"]
#[allow(dead_code, reason = "the parser is used, the mounter is not")]
pub(crate) mod option_table;

#[path = "../../src/mount/option_values.rs"]
pub(crate) mod option_values;

#[path = "../../src/mount/options.rs"]
#[allow(dead_code, reason = "the parser is used, the mounter is not")]
pub(crate) mod options;

#[path = "../../src/mount/backend_choice.rs"]
#[allow(dead_code, reason = "the parser needs a part of it")]
pub(crate) mod backend_choice;

use options::Options;

/// What a mutation puts in besides the names of options.
pub(crate) const WORDS: &[&str] = &[
    ",",
    ":",
    "::",
    "\\",
    "\\,",
    "\\:",
    "\\\\",
    "=",
    "metacopy=on",
    "xattr_permissions=2",
    "whiteouts=file",
    "index=off",
    "xino=auto",
    "uuid=null",
    "nfs_export=on",
    "noatime",
    "relatime",
    "strictatime",
    "nosuid",
    "dev",
    "4294967295",
    "-1",
    "1e999",
    "nan",
    "inf",
    "0:0:4294967295",
];

pub(crate) fn run(data: &[u8]) {
    // No argument of a program holds a NUL.
    let text = String::from_utf8_lossy(data).replace('\0', "");
    let arguments: Vec<&str> = text.split('\n').collect();
    match Options::parse(&arguments) {
        Err(failure) => check_message(&failure.to_string()),
        Ok(options) => check(&options, &arguments),
    }
    check_paths(&arguments);
}

/// What was accepted means the same in one argument as in several, and when it is added piece by piece.
fn check(options: &Options, arguments: &[&str]) {
    // A backslash at the end of an argument would take the meaning from the comma.
    if !arguments.iter().any(|argument| argument.ends_with('\\')) {
        assert_eq!(*options, Options::parse(&[arguments.join(",")]).unwrap());
    }
    let mut added = Options::default();
    for argument in arguments {
        added.add(argument).unwrap();
    }
    assert_eq!(*options, added);
    for flags in [MountFlags::empty(), MountFlags::all()] {
        let flags = options.mount_flags(flags);
        assert_eq!(flags.contains(MountFlags::RDONLY), options.read_only);
    }
    for word in options.flag_words() {
        assert!(Options::knows(word), "{word}");
    }
    let paths = options.lowers.iter().chain(&options.data);
    if arguments.iter().all(|argument| !argument.contains("+=")) {
        assert!(paths.into_iter().all(|path| !path.as_os_str().is_empty()));
    }
}

/// Escaped as the manual says, every path can be named.
fn check_paths(paths: &[&str]) {
    let paths: Vec<&str> = paths
        .iter()
        .copied()
        .filter(|path| !path.is_empty())
        .collect();
    if paths.is_empty() {
        return;
    }
    let escape = |path: &str, special: &[char]| {
        let mut escaped = String::new();
        for c in path.chars() {
            if special.contains(&c) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    };
    // Once for the colons, once for the commas, which are read first.
    let lowers: Vec<String> = paths
        .iter()
        .map(|path| escape(path, &[':', '\\']))
        .collect();
    let lowers = lowers.join(":").replace(',', "\\,");
    let upper = escape(paths[0], &['\\']).replace(',', "\\,");
    let options = Options::parse(&[format!("lowerdir={lowers},upperdir={upper}")]);
    let options = options.unwrap_or_else(|failure| panic!("{paths:?}: {failure}"));
    let expected: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    assert_eq!(options.lowers, expected);
    assert_eq!(options.upper.as_ref(), expected.first());
    assert!(options.data.is_empty());
}

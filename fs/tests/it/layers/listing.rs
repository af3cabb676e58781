//! Listing directories.

use super::*;

/// Fault 14: names that are not UTF-8, names of 255 bytes, `.wh.` names beside device whiteouts.
#[test]
fn strange_names_are_names() {
    use std::os::unix::ffi::OsStrExt;
    let mut stack = Stack::new(1);
    let longest = "n".repeat(255);
    put(&stack.lower(0, &longest), "long");
    put(&stack.lower(0, ".wh.x"), "plain");
    put(&stack.lower(0, "x"), "seen");
    let raw = std::ffi::OsStr::from_bytes(b"\xff\xfe\n");
    std::fs::write(stack.lower(0, "").join(raw), "raw").unwrap();
    stack.open();
    let fs = stack.fs();
    let entry = fs.lookup(fs.root(), raw).unwrap();
    assert_eq!(read_node(fs, entry.id), b"raw");
    assert_eq!(stack.read(&longest), "long");
    assert_eq!(stack.read(".wh.x"), "plain");
    assert_eq!(stack.read("x"), "seen");
    assert_eq!(stack.attr(&"n".repeat(256)), Err(Errno::NAMETOOLONG));
    assert_eq!(stack.list("").len(), 4);
}

#[test]
fn listings_agree_with_stat() {
    let mut stack = Stack::new(2);
    put(&stack.lower(1, "d/f"), "");
    put(&stack.lower(1, "d/sub/x"), "");
    put(&stack.lower(0, "d/sub/y"), "");
    put(&stack.lower(0, "d/copied"), "before");
    put(&stack.upper("d/sub/z"), "");
    std::os::unix::fs::symlink("f", stack.lower(0, "d/link")).unwrap();
    stack.open();
    stack.chmod("d/copied", 0o600).unwrap();
    let fs = stack.fs();
    let dir = stack.hold("d");
    for round in 0..2 {
        let mut entries = Vec::new();
        fs.readdir(dir, 0, |entry| {
            entries.push(entry.clone());
            Fill::More
        })
        .unwrap();
        assert_eq!(entries.len(), 6, "round {round}");
        for entry in entries {
            let name = entry.name.to_str().unwrap();
            let attr = match name {
                "." => stack.attr("d").unwrap(),
                ".." => stack.attr("").unwrap(),
                name => stack.attr(&format!("d/{name}")).unwrap(),
            };
            assert_eq!((entry.ino, entry.kind), (attr.ino, attr.kind), "{name}");
        }
    }
}

#[test]
fn a_listing_continues_where_a_full_buffer_ended() {
    let mut stack = Stack::new(1);
    for i in 0..300 {
        put(&stack.lower(0, &format!("f{i}")), "");
    }
    stack.open();
    let fs = stack.fs();
    let (mut cookie, mut seen) = (0, Vec::new());
    loop {
        let mut room = 7;
        let before = seen.len();
        fs.readdir_plus(fs.root(), cookie, Wants::All, |entry, found| {
            if room == 0 {
                return Fill::Full;
            }
            room -= 1;
            cookie = entry.cookie;
            let name = entry.name.to_str().unwrap().to_owned();
            if name != "." && name != ".." {
                seen.push((name, found.unwrap().id));
            }
            Fill::More
        })
        .unwrap();
        if room == 7 {
            break;
        }
        assert!(seen.len() > before || cookie <= 2);
    }
    assert_eq!(seen.len(), 300);
    assert_eq!(fs.known_nodes(), 301);
    for (_, id) in seen {
        fs.forget(id, 1);
    }
    assert_eq!(
        fs.known_nodes(),
        1,
        "an entry without room was not forgotten"
    );
}

#[test]
fn who_wants_directories_alone_gets_them_first_and_the_files_after() {
    let mut stack = Stack::new(2);
    for i in 0..200 {
        put(&stack.lower(i % 2, &format!("f{i}")), "");
        put(&stack.lower(i % 2, &format!("d{}/f", i % 7)), "");
    }
    stack.open();
    let fs = stack.fs();
    let (mut cookie, mut first, mut rest) = (0, Vec::new(), Vec::new());
    fs.readdir_plus(fs.root(), 0, Wants::Directories, |entry, found| {
        cookie = entry.cookie;
        first.push((entry.name.to_str().unwrap().to_owned(), found.unwrap().attr));
        Fill::More
    })
    .unwrap();
    first.drain(..2);
    assert!(
        first
            .iter()
            .all(|(_, attr)| attr.kind == FileKind::Directory)
    );
    assert_eq!(first.len(), 7);
    assert_eq!(fs.known_nodes(), 8, "a file was looked up without need");
    // The kernel may ask for attributes later on, when there are no more directories.
    fs.readdir_plus(fs.root(), cookie, Wants::Directories, |entry, found| {
        let attr = found.unwrap().attr;
        assert_eq!((entry.ino, entry.kind), (attr.ino, FileKind::Regular));
        rest.push(entry.name.to_str().unwrap().to_owned());
        Fill::More
    })
    .unwrap();
    rest.sort();
    let mut files: Vec<_> = (0..200).map(|i| format!("f{i}")).collect();
    files.sort();
    assert_eq!(rest, files);
    for (name, attr) in first {
        assert_eq!(stack.attr(&name).unwrap(), attr);
    }
}

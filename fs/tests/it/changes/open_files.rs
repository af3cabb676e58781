//! Files that are open while they change.

use super::*;

/// Fault 1: a descriptor opened before a copy-up sees what is written after it.
#[test]
fn a_file_opened_before_copy_up_sees_what_is_written_after() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "old text");
    stack.open();
    let fs = stack.fs();
    let reader = stack.hold("f");
    assert_eq!(read_node(fs, reader), b"old text");
    let writer = stack.hold("f");
    assert_eq!(reader, writer);
    fs.write(writer, 0, b"new", WriteMode::default()).unwrap();
    assert_eq!(read_node(fs, reader), b"new text");
    fs.write(writer, 4, b"data", WriteMode::default()).unwrap();
    fs.fsync(writer, false).unwrap();
    assert_eq!(read_node(fs, reader), b"new data");
    assert_eq!(fs::read(stack.upper("f")).unwrap(), b"new data");
}

/// The kernel may send what it gathered in another order, and a descriptor that can only append would write at the
/// end of the file whatever the offset.
#[test]
fn gathered_data_is_not_appended_out_of_order() {
    let test = "gathered_data_is_not_appended_out_of_order";
    let mut stack = Stack::new(1);
    put(&stack.upper("f"), "one");
    let path = stack.upper("f");
    let set = |flags| fs::File::open(&path).map(|file| rustix::fs::ioctl_setflags(file, flags));
    if let Err(errno) = set(IFlags::APPEND).unwrap() {
        return skip(test, &format!("no append-only files here: {errno}"));
    }
    stack.open();
    let id = stack.hold("f");
    let gathered = WriteMode {
        gathered: true,
        ..WriteMode::default()
    };
    let write = |offset, data: &[u8]| stack.fs().write(id, offset, data, gathered);
    let results = [write(6, b"three"), write(0, b"onetwo"), write(6, b"three")];
    let content = fs::read_to_string(&path).unwrap();
    set(IFlags::empty()).unwrap().unwrap();
    assert_eq!(results, [Err(Errno::IO), Ok(6), Ok(5)]);
    assert_eq!(content, "onetwothree");
}

/// Fault 3: an opened and then unlinked file keeps working.
#[test]
fn an_unlinked_file_keeps_working() {
    for origin in ["lower", "upper", "copied up"] {
        let mut stack = Stack::new(1);
        if origin != "upper" {
            put(&stack.lower(0, "f"), "0123456789");
        }
        stack.open();
        match origin {
            "upper" => stack.create("f", "0123456789").unwrap(),
            "copied up" => drop(stack.chmod("f", 0o640).unwrap()),
            _ => {}
        }
        let fs = stack.fs();
        let open = stack.hold("f");
        stack.unlink("f").unwrap();
        assert!(!stack.exists("f"), "{origin}");
        assert_eq!(fs.getattr(open).unwrap().nlink, 0, "{origin}");
        assert_eq!(read_node(fs, open), b"0123456789", "{origin}");
        fs.write(open, 2, b"xx", WriteMode::default()).unwrap();
        let set = SetAttr {
            size: Some(5),
            mode: Some(0o600),
            mtime: Some(SetTime::At(Timestamp { secs: 5, nanos: 0 })),
            ..SetAttr::default()
        };
        let attr = fs.setattr(&me(), open, &set).unwrap();
        assert_eq!((attr.size, attr.mode, attr.mtime.secs), (5, 0o600, 5));
        fs.setxattr(&me(), open, "user.x".as_ref(), b"y", XattrFlags::empty())
            .unwrap();
        assert_eq!(fs.getxattr(open, "user.x".as_ref()).unwrap(), b"y");
        assert_eq!(read_node(fs, open), b"01xx4", "{origin}");
        assert_eq!(fs.getattr(open).unwrap().ino, attr.ino);
        assert_eq!(attr.nlink, 0, "{origin}");
        // A new file of the same name is another file.
        stack.create("f", "new").unwrap();
        assert_eq!(read_node(fs, open), b"01xx4");
        assert_eq!(stack.read("f"), "new");
        fs.forget(open, 1);
        assert_eq!(fs.known_nodes(), 1, "{origin}");
        assert_eq!(
            fs::read_dir(stack.work())
                .unwrap()
                .filter(|entry| { !is_whiteout(&entry.as_ref().unwrap().path()) })
                .count(),
            0
        );
    }
}

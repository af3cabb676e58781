//! What is shown of files.

use super::*;

#[test]
fn a_read_only_stack_refuses_changes() {
    let mut stack = Stack::new(1);
    stack.read_only = true;
    put(&stack.lower(0, "d/f"), "text");
    stack.open();
    assert_eq!(stack.read("d/f"), "text");
    assert_eq!(stack.write("d/f", 0, "x"), Err(Errno::ROFS));
    assert_eq!(stack.create("d/g", ""), Err(Errno::ROFS));
    assert_eq!(stack.unlink("d/f"), Err(Errno::ROFS));
    assert_eq!(stack.chmod("d/f", 0o600), Err(Errno::ROFS));
    assert_eq!(stack.rename("d/f", "d/g"), Err(Errno::ROFS));
}

#[test]
fn hard_links_of_a_lower_file_show_one_inode() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "a"), "text");
    std::fs::hard_link(stack.lower(0, "a"), stack.lower(0, "b")).unwrap();
    stack.open();
    let (a, b) = (stack.attr("a").unwrap(), stack.attr("b").unwrap());
    assert_eq!(a, b);
    assert_eq!(a.nlink, 2);
}

#[test]
fn types_and_link_targets_are_shown() {
    let mut stack = Stack::new(1);
    std::os::unix::fs::symlink("../target", stack.lower(0, "link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, stack.lower(0, "fifo"), 0o640.into()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(stack.lower(0, "socket")).unwrap());
    stack.open();
    let fs = stack.fs();
    assert_eq!(stack.attr("fifo").unwrap().kind, FileKind::Fifo);
    assert_eq!(stack.attr("socket").unwrap().kind, FileKind::Socket);
    assert_eq!(stack.attr("link").unwrap().kind, FileKind::Symlink);
    assert_eq!(fs.readlink(stack.hold("link")).unwrap(), b"../target");
    assert_eq!(fs.readlink(stack.hold("fifo")), Err(Errno::INVAL));
}

#[test]
fn owners_are_shown_as_others() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "");
    let range = |shown, stored| IdRange {
        shown,
        stored,
        count: 1,
    };
    let (uid, gid) = (me().uid, me().gid);
    stack.owners = Owners {
        uids: Ids::Mapped {
            ranges: vec![range(7, uid)],
            overflow: 65534,
        },
        gids: Ids::Squashed(9),
    };
    stack.open();
    let owner = |stack: &Stack, name: &str| {
        let attr = stack.attr(name).unwrap();
        (attr.uid, attr.gid)
    };
    assert_eq!(owner(&stack, "f"), (7, 9));
    let caller = Caller {
        uid: 7,
        gid: 9,
        ..me()
    };
    let fs = stack.fs();
    let mode = S_IFREG | 0o600;
    let made = fs.mknod(&caller, fs.root(), "new".as_ref(), mode, Device::default());
    assert_eq!((made.unwrap().attr.uid, made.unwrap().attr.gid), (7, 9));
    let chown = SetAttr {
        uid: Some(7),
        gid: Some(4),
        ..SetAttr::default()
    };
    stack.setattr("f", chown).unwrap();
    for name in ["new", "f"] {
        assert_eq!(owner(&stack, name), (7, 9), "{name}");
        let meta = std::fs::metadata(stack.upper(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{name}");
    }
}

//! Masks, access control lists, and bits that go.

use super::*;

/// Fault 7: the caller's umask and the directory's set-gid bit are honoured.
#[test]
fn mask_and_set_gid_are_honoured() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "gone"), "");
    stack.open();
    let fs = stack.fs();
    let caller = Caller {
        umask: 0o027,
        ..me()
    };
    let make = |name: &str| {
        let (root, name) = (fs.root(), name.as_ref());
        fs.mknod(&caller, root, name, S_IFREG | 0o666, Device::default())
    };
    assert_eq!(make("f").unwrap().attr.mode, 0o640);
    stack.unlink("gone").unwrap();
    assert_eq!(make("gone").unwrap().attr.mode, 0o640);
    let root = fs.root();
    let dir = fs.mkdir(&caller, root, "d".as_ref(), 0o777).unwrap();
    assert_eq!(dir.attr.mode, 0o750);
    let link = fs
        .symlink(&caller, root, "l".as_ref(), "f".as_ref())
        .unwrap();
    assert_eq!(link.attr.mode, 0o777);
    stack.chmod("d", 0o2755).unwrap();
    let inner = fs.mkdir(&caller, dir.id, "e".as_ref(), 0o777).unwrap();
    assert_eq!(inner.attr.mode, 0o2750);
    assert_eq!(inner.attr.gid, dir.attr.gid);
}

/// Fault 7: so are default ACLs.
#[test]
fn default_acls_are_honoured() {
    // user::rwx, user:12345:rwx, group::r-x, mask::rwx, other::---
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 12345),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "d/gone"), "");
    stack.open();
    let fs = stack.fs();
    let dir = stack.hold("d");
    let name = "system.posix_acl_default".as_ref();
    match fs.setxattr(&me(), dir, name, &acl, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => return skip(this_test!(), "no ACLs in /tmp"),
        other => other.unwrap(),
    }
    stack.unlink("d/gone").unwrap();
    for name in ["d/f", "d/gone"] {
        let (_, last) = name.split_once('/').unwrap();
        let mode = S_IFREG | 0o666;
        fs.mknod(&me(), dir, last.as_ref(), mode, Device::default())
            .unwrap();
        // The mask of the caller, 022, does not apply where there is a default ACL.
        assert_eq!(stack.attr(name).unwrap().mode, 0o660, "{name}");
        let id = stack.hold(name);
        assert!(fs.getxattr(id, "system.posix_acl_access".as_ref()).is_ok());
    }
    stack.mkdir("d/sub").unwrap();
    let sub = stack.hold("d/sub");
    assert_eq!(fs.getxattr(sub, name).unwrap(), acl);
}

/// Fault 8: set-uid and set-gid are dropped on write, truncate and chown.
#[test]
fn set_id_bits_are_dropped() {
    let mut stack = Stack::new(1);
    put(&stack.lower(0, "f"), "text");
    stack.open();
    let fs = stack.fs();
    let id = stack.hold("f");
    let set_id = || stack.chmod("f", 0o6755).unwrap();
    assert_eq!(set_id().mode, 0o6755);
    let stranger = Caller {
        uid: 4242,
        gid: 4242,
        ..me()
    };
    let no_privileges = WriteMode {
        unprivileged: Some(stranger),
        ..WriteMode::default()
    };
    fs.write(id, 0, b"x", no_privileges).unwrap();
    assert_eq!(fs.getattr(id).unwrap().mode, 0o755);
    set_id();
    let size = SetAttr {
        size: Some(1),
        ..SetAttr::default()
    };
    assert_eq!(fs.setattr(&stranger, id, &size).unwrap().mode, 0o755);
    set_id();
    let owner = SetAttr {
        uid: Some(me().uid),
        ..SetAttr::default()
    };
    assert_eq!(fs.setattr(&me(), id, &owner).unwrap().mode, 0o755);
}

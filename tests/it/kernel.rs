//! What plyfs writes, the kernel's overlay reads, and the other way round.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::tree::{assert_same, facts};
use crate::support::*;

/// Two lower layers with whiteouts, an opaque directory, links and attributes.
fn make_layers(stack: &Stack) {
    for (layer, path, text) in [
        (1, "d/bottom", "bottom"),
        (1, "d/both", "bottom"),
        (1, "d/hidden", "bottom"),
        (1, "opaque/below", "bottom"),
        (1, "tree/a/b/c", "deep"),
        (1, "tree/a/x", "x"),
        (1, "replaced/dir/f", "dir"),
        (0, "d/both", "top"),
        (0, "d/top", "top"),
        (0, "opaque/in", "top"),
        (0, "tree/a/y", "y"),
        (0, "large", &"large ".repeat(50_000)),
    ] {
        put(&stack.lower(layer, path), text);
    }
    let hidden = stack.lower(0, "d/hidden");
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &hidden, kind, 0.into(), 0).unwrap();
    let empty = rustix::fs::XattrFlags::empty();
    let opaque = match is_initial_namespace() {
        true => "trusted.overlay.opaque",
        false => "user.overlay.opaque",
    };
    rustix::fs::lsetxattr(stack.lower(0, "opaque"), opaque, b"y", empty).unwrap();
    rustix::fs::lsetxattr(stack.lower(1, "d/bottom"), "user.note", b"kept", empty).unwrap();
    fs::set_permissions(stack.lower(0, "d/top"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("../d/top", stack.lower(0, "link")).unwrap();
    fs::hard_link(stack.lower(0, "d/top"), stack.lower(0, "hard")).unwrap();
}

/// A session of everything a person does with files.
fn change(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::write(at("new"), "new").unwrap();
    fs::create_dir_all(at("made/deep/er")).unwrap();
    fs::write(at("made/deep/f"), "f").unwrap();
    fs::write(at("d/bottom"), "changed").unwrap();
    fs::remove_file(at("d/both")).unwrap();
    fs::write(at("d/hidden"), "back").unwrap();
    fs::remove_dir_all(at("tree")).unwrap();
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/only"), "only").unwrap();
    fs::remove_dir_all(at("replaced")).unwrap();
    fs::write(at("replaced"), "a file now").unwrap();
    fs::rename(at("link"), at("made/link")).unwrap();
    fs::rename(at("made"), at("moved")).unwrap();
    fs::rename(at("large"), at("moved/large")).unwrap();
    fs::hard_link(at("new"), at("new2")).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(at("hard"), fs::Permissions::from_mode(0o600)).unwrap();
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), kind, 0o640.into(), 0).unwrap();
    let empty = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(at("opaque"), "user.x", b"y", empty).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    let long = "n".repeat(255);
    fs::write(at(&long), "long").unwrap();
    fs::remove_file(at("opaque/in")).unwrap();
}

#[test]
fn a_stack_shows_what_the_kernel_shows() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        make_layers(&stack);
        stack.mount();
        let ours = facts(&stack.merged(""));
        stack.unmount();
        stack.mount_kernel();
        assert_same(&ours, &facts(&stack.merged("")));
    });
}

#[test]
fn the_kernel_reads_what_plyfs_wrote() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        make_layers(&stack);
        stack.mount();
        change(&stack.merged(""));
        let ours = facts(&stack.merged(""));
        stack.unmount();
        stack.mount_kernel();
        assert_same(&ours, &facts(&stack.merged("")));
    });
}

#[test]
fn plyfs_reads_what_the_kernel_wrote() {
    inside(this_test!(), || {
        let mut stack = Stack::new(2);
        make_layers(&stack);
        stack.mount_kernel();
        change(&stack.merged(""));
        let kernels = facts(&stack.merged(""));
        rustix::mount::unmount(stack.merged(""), rustix::mount::UnmountFlags::empty()).unwrap();
        stack.mount();
        assert_same(&kernels, &facts(&stack.merged("")));
    });
}

//! Layers on file systems of every kind.

mod lacking;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::file_system::{BTRFS, EXT4, FileSystem, Kind, XFS};
use crate::support::tree::{assert_same, facts};
use crate::support::*;
use rustix::mount::{MountFlags, UnmountFlags};

fn make_lower(stack: &Stack) {
    for (path, text) in [
        ("d/f", "lower"),
        ("d/gone", "lower"),
        ("d/sub/deep", "deep"),
        ("removed/x", "x"),
        ("moved/y", "y"),
        ("exec", "#!/bin/sh\n"),
    ] {
        put(&stack.lower(0, path), text);
    }
    put(&stack.lower(0, "large"), &"large ".repeat(100_000));
    fs::hard_link(stack.lower(0, "large"), stack.lower(0, "hard")).unwrap();
    symlink("d/f", stack.lower(0, "link")).unwrap();
    fs::set_permissions(stack.lower(0, "exec"), PermissionsExt::from_mode(0o4755)).unwrap();
    let sparse = File::create(stack.lower(0, "sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
}

/// A little of everything.
fn change(root: &Path) {
    let at = |path: &str| root.join(path);
    let large = File::options().write(true).open(at("large")).unwrap();
    large.write_all_at(b"LARGE", 300_000).unwrap();
    large.sync_all().unwrap();
    let sparse = File::options().write(true).open(at("sparse")).unwrap();
    sparse.write_all_at(b"start", 0).unwrap();
    fs::write(at("d/f"), "changed").unwrap();
    fs::remove_file(at("d/gone")).unwrap();
    fs::remove_dir_all(at("removed")).unwrap();
    fs::create_dir(at("removed")).unwrap();
    // Without attributes it is copied.
    succeed(
        Command::new("mv")
            .args(["-T"])
            .args([at("moved"), at("d/moved")]),
    );
    fs::hard_link(at("d/f"), at("d/linked")).unwrap();
    symlink("x", at("new link")).unwrap();
    fs::set_permissions(at("exec"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::rename(at("link"), at("d/link")).unwrap();
}

/// The session on an upper layer on this file system, and on the lower one beside it, as where blocks
/// are shared; then the kernel's overlay shows the same.
fn serves_both(name: &str, kind: &Kind) {
    inside(name, || {
        if let Some(why) = kind.cannot() {
            return skip(name, &why);
        }
        let below = FileSystem::new(kind);
        let mut stack = Stack::new(1);
        fs::remove_dir(stack.lower(0, "")).unwrap();
        fs::create_dir(below.path().join("lower")).unwrap();
        symlink(below.path().join("lower"), stack.path("lower0")).unwrap();
        stack.upper_in(&below.path());
        make_lower(&stack);
        stack.mount();
        change(&stack.merged(""));
        let shown = facts(&stack.merged(""));
        stack.unmount();
        let blocks = fs::metadata(stack.upper("sparse")).unwrap().blocks();
        assert!(blocks < 1024, "{blocks} blocks of a sparse file");
        stack.mount();
        assert_same(&shown, &facts(&stack.merged("")));
        stack.unmount();
        stack.mount_kernel();
        assert_same(&shown, &facts(&stack.merged("")));
        rustix::mount::unmount(stack.merged(""), UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn an_upper_layer_on_ext4_serves_plyfs_and_the_kernel() {
    serves_both(this_test!(), &EXT4);
}

#[test]
fn an_upper_layer_on_xfs_serves_plyfs_and_the_kernel() {
    serves_both(this_test!(), &XFS);
}

#[test]
fn an_upper_layer_on_btrfs_serves_plyfs_and_the_kernel() {
    serves_both(this_test!(), &BTRFS);
}

/// Unmounts, asserts that the kernel's overlay shows what was shown, and takes the file system of the lower
/// layer away.
fn assert_kernel_shows_the_same(stack: &mut Stack) {
    let shown = facts(&stack.merged(""));
    stack.unmount();
    stack.mount_kernel();
    assert_same(&shown, &facts(&stack.merged("")));
    rustix::mount::unmount(stack.merged(""), UnmountFlags::empty()).unwrap();
    rustix::mount::unmount(stack.lower(0, ""), UnmountFlags::DETACH).unwrap();
}

/// Mounts a file system over the lower layer.
fn over_lower(stack: &Stack, kind: &str) -> rustix::io::Result<()> {
    let at = stack.lower(0, "");
    rustix::mount::mount(kind, &at, kind, MountFlags::empty(), None)
}

#[test]
fn a_lower_layer_on_a_file_system_without_attributes_is_changed_like_any() {
    let name = this_test!();
    inside(name, || {
        let mut stack = Stack::new(1);
        if let Err(error) = over_lower(&stack, "ramfs") {
            return skip(name, &format!("no ramfs can be mounted: {error}"));
        }
        make_lower(&stack);
        let empty = rustix::fs::XattrFlags::empty();
        let has_none = rustix::fs::lsetxattr(stack.lower(0, "d"), "user.x", b"y", empty);
        assert_eq!(has_none, Err(rustix::io::Errno::OPNOTSUPP));
        stack.mount();
        change(&stack.merged(""));
        rustix::fs::lsetxattr(stack.merged("d/sub/deep"), "user.x", b"y", empty).unwrap();
        assert_kernel_shows_the_same(&mut stack);
    });
}

/// The kernel asks for the ACL of what it checks permissions of.
#[test]
fn other_users_read_a_lower_layer_on_a_file_system_without_attributes() {
    let name = this_test!();
    inside(name, || {
        if !is_initial_namespace() {
            return skip(name, "only root can become another user");
        }
        let mut stack = Stack::new(1);
        if let Err(error) = over_lower(&stack, "ramfs") {
            return skip(name, &format!("no ramfs can be mounted: {error}"));
        }
        put(&stack.lower(0, "d/f"), "f");
        fs::write(stack.lower(0, "own"), "own").unwrap();
        for (path, mode) in [("", 0o755), ("d", 0o711), ("d/f", 0o604), ("own", 0o600)] {
            fs::set_permissions(stack.lower(0, path), PermissionsExt::from_mode(mode)).unwrap();
        }
        stack.mount();
        // Without the capabilities of root, and neither the owner nor of the group.
        let reads = |path: &str| {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid",
                "1",
                "--regid",
                "1",
                "--clear-groups",
                "--",
                "cat",
            ]);
            // The directory of the stack is for its owner alone.
            command.arg(path).current_dir(stack.merged(""));
            command.output()
        };
        let Ok(output) = reads("d/f") else {
            return skip(name, "there is no setpriv");
        };
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("f".into(), String::new())
        );
        let output = reads("own").unwrap();
        assert!(
            text(&output.stderr).contains("Permission denied"),
            "{output:?}"
        );
        stack.unmount();
        rustix::mount::unmount(stack.lower(0, ""), UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn a_lower_layer_on_squashfs_is_changed_like_any() {
    let name = this_test!();
    inside(name, || {
        if let Some(why) = EXT4.cannot() {
            return skip(name, &why);
        }
        let mut stack = Stack::new(1);
        make_lower(&stack);
        let image = stack.path("image");
        let mut make = Command::new("mksquashfs");
        make.arg(stack.lower(0, "")).arg(&image);
        match make.args(["-no-xattrs", "-quiet", "-no-progress"]).output() {
            Err(error) => return skip(name, &format!("mksquashfs: {error}")),
            Ok(output) => assert!(output.status.success(), "{}", text(&output.stderr)),
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "squashfs", "-o", "loop,ro"]);
        succeed(mount.arg(&image).arg(stack.lower(0, "")));
        stack.mount();
        change(&stack.merged(""));
        assert_kernel_shows_the_same(&mut stack);
    });
}

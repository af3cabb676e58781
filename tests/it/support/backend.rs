//! Mounts for which the backend is chosen, and what is said of it.

use std::path::Path;
use std::process::Command;

use rustix::fs::XattrFlags;

use super::{Stack, mount_type, plyfs, succeed, text};

/// `plyfs mount` that chooses, and says what and why.
pub fn mount() -> Command {
    let mut command = plyfs(["--verbose", "mount"]);
    command.env_remove("PLYFS_BACKEND");
    command
}

/// What a command that succeeds says on standard error.
pub fn told(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

pub fn unmount(target: &Path) {
    succeed(plyfs(["umount"]).arg(target));
}

pub fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Mounts with these options, and expects this backend for this reason.
#[track_caller]
pub fn chosen(stack: &Stack, options: &str, backend: &str, why: &str) {
    let target = stack.merged("");
    let said = told(mount().args(["-o", options]).arg(&target));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&format!("mounting with {backend}: ")),
        "{options}: {said}"
    );
    assert!(said.contains(why), "{options}: {said}");
    let kind = mount_type(&target);
    let expected = if backend == "FUSE" {
        "fuse."
    } else {
        "overlay"
    };
    assert!(kind.starts_with(expected), "{kind}: {said}");
    unmount(&target);
}

pub const KERNEL: &str = "the kernel's overlay";
pub const FUSE: &str = "FUSE";

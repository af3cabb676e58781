//! plyfs under other names: in the place of fuse-overlayfs, and as a helper of mount(8).

mod drop_in;
mod helper;
mod records;
mod waiting;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::world::World;
use crate::support::*;
use plyfs_store::Compression;
use plyfs_store::fixture::{Entry, ImageBuilder, Layer};
use rustix::process::{Pid, Signal, kill_process};

/// A link to plyfs under another name.
fn link(stack: &Stack, name: &str) -> PathBuf {
    let path = stack.merged("..").join(name);
    symlink(PLYFS, &path).unwrap();
    path
}

/// Mounts as container tools call such a program, with more options after those that name the layers.
fn mount_by(program: &Path, stack: &mut Stack, more: &str) {
    let mut command = Command::new(program);
    command.args(["-o", &format!("{}{more}", stack.options())]);
    succeed(command.arg(stack.merged("")));
    stack.mounted_by_other();
}

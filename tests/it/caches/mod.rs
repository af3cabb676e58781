//! What the kernel keeps of a mount: how long, and that it agrees with what is on disk.

mod attributes;
mod late_errors;
mod timeout;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::*;
use plyfs_sys::mapping::Mapping;
use rustix::process::Signal;

/// Runs a script in a directory, and kills it if it hangs.
fn within(seconds: u32, script: &str, dir: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &seconds.to_string(), "sh", "-c", script]);
    command.current_dir(dir).output().unwrap()
}

/// What a script prints while the daemon answers no request.
fn without_daemon(stack: &Stack, script: &str) -> String {
    let daemon = daemon_of(&stack.merged("")).unwrap();
    // The directory is entered while there is a daemon.
    rustix::process::kill_process(daemon, Signal::STOP).unwrap();
    let output = within(5, script, &stack.path(""));
    rustix::process::kill_process(daemon, Signal::CONT).unwrap();
    assert!(output.status.success(), "{script}: {}", output.status);
    text(&output.stdout)
}

//! plyfs: container image stacks, mounted by anyone, without root.
//!
//! This is the command: it reads arguments and environment, makes namespaces, mounts, and is the
//! only part that prints. The file system is `plyfs-fs`, the image store `plyfs-store`.

mod alias;
mod cli;
mod cmd;
mod containers;
mod descriptor;
mod error;
mod guest;
mod image_mount;
mod logger;
mod mount;
mod namespace;
mod oci;
mod output;
mod pidfd;
mod registry;
mod runtime;
mod storage;

use std::process::ExitCode;

use crate::alias::Personality;
use crate::cli::Cli;

fn main() -> ExitCode {
    // First of all, while nothing else is open.
    plyfs_sys::inherited::remember();
    plyfs_sys::process::report_children();
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let done = match Personality::of(&program) {
        Some(personality) => personality.run(arguments),
        None => Cli::read().and_then(|cli| cli.run()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                output::complain(&failure);
            }
            ExitCode::from(failure.status())
        }
    }
}

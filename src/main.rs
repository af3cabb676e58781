//! plyfs: container image stacks, mounted by anyone, without root.
//!
//! This is the command: it reads arguments and environment, makes namespaces, mounts, and is the
//! only part that prints. The file system is `plyfs-fs`, the image store `plyfs-store`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the part that prints"
)]

mod cli;
mod failure;
mod logger;
mod mount;
mod mounting;
mod namespace;
mod unshare;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::install(cli.global.verbose);
    let outcome = match cli.command {
        Command::Mount(args) => mounting::mount(&args),
        Command::Umount(args) => mounting::umount(&args),
        Command::Unshare(args) => unshare::unshare(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plyfs: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

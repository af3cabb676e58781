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
mod demo;
mod failure;
mod images;
mod import;
mod logger;
mod mount;
mod mounting;
mod namespace;
mod output;
mod run;
mod stack;
mod storage;
mod unshare;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::install(cli.global.verbose);
    let store = cli.global.store.as_deref();
    let outcome = match cli.command {
        Command::Demo => demo::demo(),
        Command::Import(args) => import::import(&args, store),
        Command::Images(args) => images::images(&args, store),
        Command::Mount(args) => mounting::mount(&args, store),
        Command::Run(args) => run::run(&args, store),
        Command::Umount(args) => mounting::umount(&args),
        Command::Unshare(args) => unshare::unshare(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                eprintln!("plyfs: {failure}");
            }
            ExitCode::from(failure.status())
        }
    }
}

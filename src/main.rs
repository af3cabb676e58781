//! plyfs: container image stacks, mounted by anyone, without root.
//!
//! This is the command: it reads arguments and environment, makes namespaces, mounts, and is the
//! only part that prints. The file system is `plyfs-fs`, the image store `plyfs-store`.

mod changes;
mod cli;
mod cmd;
mod containers;
mod descriptor;
mod error;
mod guest;
mod interrupt;
mod logger;
mod mount;
mod mounting;
mod namespace;
mod oci;
mod other_tools;
mod output;
mod personality;
mod pidfd;
mod progress;
mod runtime;
mod stack;
mod storage;
mod unshare;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::Result;
use crate::personality::Personality;

fn main() -> ExitCode {
    // First of all, while nothing else is open.
    plyfs_sys::inherited::remember();
    plyfs_sys::process::report_children();
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let done = match Personality::of(&program) {
        Some(personality) => personality.run(arguments),
        None => Cli::read().and_then(|cli| execute(&cli)),
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

fn execute(cli: &Cli) -> Result {
    logger::install(cli.global.verbose);
    let store = cli.global.store.as_deref();
    match &cli.command {
        Command::Demo => cmd::demo::demo(),
        Command::Import(args) => cmd::import::import(args, store),
        Command::Images(args) => cmd::images::images(args, store),
        Command::Commit(args) => cmd::commit::commit(args, store),
        Command::Doctor(args) => cmd::doctor::doctor(args, store),
        Command::Diff(args) => cmd::diff::diff(args, store),
        Command::Mount(args) => mounting::mount(args, store),
        Command::Run(args) => cmd::run::run(args, store),
        Command::Bundle(args) => cmd::bundle::bundle(args, store),
        Command::Exec(args) => cmd::exec::exec(args, store),
        Command::Rm(args) => cmd::remove::rm(args, store),
        Command::Rmi(args) => cmd::remove::rmi(args, store),
        Command::Tag(args) => cmd::tag::tag(args, store),
        Command::Version => output::write(concat!("plyfs ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Ps(args) => cmd::ps::containers(args, store),
        Command::Generate(args) => cli::generate::generate(args),
        Command::History(args) => cmd::history::history(args, store),
        Command::Inspect(args) => cmd::inspect::inspect(args, store),
        Command::Df(args) => cmd::df::df(args, store),
        Command::Fsck(args) => cmd::fsck::fsck(args, store),
        Command::Prune(args) => cmd::remove::prune(args, store),
        Command::Save(args) => cmd::save::save(args, store),
        Command::Umount(args) => mounting::umount(args, store),
        Command::Stop(args) => cmd::stop::stop(args, store),
        Command::Kill(args) => cmd::stop::kill(args, store),
        Command::Unshare(args) => unshare::unshare(args),
    }
}

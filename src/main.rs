//! plyfs: container image stacks, mounted by anyone, without root.
//!
//! This is the command: it reads arguments and environment, makes namespaces, mounts, and is the
//! only part that prints. The file system is `plyfs-fs`, the image store `plyfs-store`.

mod bundle;
mod changes;
mod cli;
mod commit;
mod containers;
mod demo;
mod descriptor;
mod df;
mod diff;
mod doctor;
mod exec;
mod failure;
mod fsck;
mod generate;
mod guest;
mod history;
mod images;
mod import;
mod inspect;
mod interrupt;
mod live;
mod logger;
mod manual;
mod mount;
mod mounting;
mod namespace;
mod oci;
mod other_tools;
mod output;
mod personality;
mod pidfd;
mod places;
mod progress;
mod remove;
mod run;
mod runtime;
mod save;
mod stack;
mod stop;
mod storage;
mod tag;
mod unshare;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::Outcome;
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

fn execute(cli: &Cli) -> Outcome {
    logger::install(cli.global.verbose);
    let store = cli.global.store.as_deref();
    match &cli.command {
        Command::Demo => demo::demo(),
        Command::Import(args) => import::import(args, store),
        Command::Images(args) => images::images(args, store),
        Command::Commit(args) => commit::commit(args, store),
        Command::Doctor(args) => doctor::doctor(args, store),
        Command::Diff(args) => diff::diff(args, store),
        Command::Mount(args) => mounting::mount(args, store),
        Command::Run(args) => run::run(args, store),
        Command::Bundle(args) => bundle::bundle(args, store),
        Command::Exec(args) => exec::exec(args, store),
        Command::Rm(args) => remove::rm(args, store),
        Command::Rmi(args) => remove::rmi(args, store),
        Command::Tag(args) => tag::tag(args, store),
        Command::Version => output::write(concat!("plyfs ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Ps(args) => containers::containers(args, store),
        Command::Generate(args) => generate::generate(args),
        Command::History(args) => history::history(args, store),
        Command::Inspect(args) => inspect::inspect(args, store),
        Command::Df(args) => df::df(args, store),
        Command::Fsck(args) => fsck::fsck(args, store),
        Command::Prune(args) => remove::prune(args, store),
        Command::Save(args) => save::save(args, store),
        Command::Umount(args) => mounting::umount(args, store),
        Command::Stop(args) => stop::stop(args, store),
        Command::Kill(args) => stop::kill(args, store),
        Command::Unshare(args) => unshare::unshare(args),
    }
}

//! The command line: its commands, and the call of each.
//!
//! To add a command, write a module of [`crate::cmd`] and name it in [`Command`] and [`Cli::run`].

mod completions;
pub(crate) mod generate;
pub(crate) mod manual;
mod other_tools;
mod parse;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::error::Result;
use crate::{cmd, logger, output};

/// Container image stacks, mounted by anyone, without root
#[derive(Debug, Parser)]
#[command(name = "plyfs", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where images and containers are kept [default: $PLYFS_STORE, else $XDG_DATA_HOME/plyfs, for root
    /// /var/lib/plyfs]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Log more: decisions and their reasons; given twice, also every request
    #[arg(long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See what plyfs does: a tour with a small image, in a minute
    Demo,
    Import(cmd::import::ImportArgs),
    Pull(cmd::pull::PullArgs),
    Push(cmd::push::PushArgs),
    Login(cmd::login::LoginArgs),
    Logout(cmd::logout::LogoutArgs),
    Images(cmd::images::ImagesArgs),
    #[command(visible_alias = "containers")]
    Ps(cmd::ps::PsArgs),
    /// Show how an image was made, the last step first
    History(cmd::history::HistoryArgs),
    /// Show everything about an image or a container, as JSON
    Inspect(cmd::inspect::InspectArgs),
    Df(cmd::df::DfArgs),
    Mount(cmd::mount::MountArgs),
    Diff(cmd::diff::DiffArgs),
    Commit(cmd::commit::CommitArgs),
    /// Write an image to a directory or a file, for other tools and other machines
    #[command(visible_alias = "export")]
    Save(cmd::save::SaveArgs),
    /// Unmount, and wait until everything is written
    #[command(visible_alias = "unmount")]
    Umount(cmd::umount::UmountArgs),
    #[command(after_help = manual::examples("run"))]
    Run(Box<cmd::run::RunArgs>),
    #[command(after_help = manual::examples("exec"))]
    Exec(cmd::exec::ExecArgs),
    #[command(after_help = manual::examples("bundle"))]
    Bundle(Box<cmd::bundle::BundleArgs>),
    Stop(cmd::stop::StopArgs),
    Kill(cmd::kill::KillArgs),
    /// Remove containers with all that was changed in them
    Rm(cmd::rm::RmArgs),
    /// Remove images, and the layers that nothing else needs
    Rmi(cmd::rmi::RmiArgs),
    Tag(cmd::tag::TagArgs),
    Prune(cmd::prune::PruneArgs),
    Fsck(cmd::fsck::FsckArgs),
    Doctor(cmd::doctor::DoctorArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
    /// Print the version, as --version does
    Version,
    /// Run a command, or a shell, in a user namespace in which mounting is allowed
    Unshare(cmd::unshare::UnshareArgs),
}

impl Cli {
    /// Runs the chosen command.
    pub(crate) fn run(&self) -> Result {
        logger::install(self.global.verbose);
        let store = self.global.store.as_deref();
        match &self.command {
            Command::Demo => cmd::demo::demo(),
            Command::Import(args) => cmd::import::import(args, store),
            Command::Pull(args) => cmd::pull::pull(args, store),
            Command::Push(args) => cmd::push::push(args, store),
            Command::Login(args) => cmd::login::login(args),
            Command::Logout(args) => cmd::logout::logout(args),
            Command::Images(args) => cmd::images::images(args, store),
            Command::Commit(args) => cmd::commit::commit(args, store),
            Command::Doctor(args) => cmd::doctor::doctor(args, store),
            Command::Diff(args) => cmd::diff::diff(args, store),
            Command::Mount(args) => cmd::mount::mount(args, store),
            Command::Run(args) => cmd::run::run(args, store),
            Command::Bundle(args) => cmd::bundle::bundle(args, store),
            Command::Exec(args) => cmd::exec::exec(args, store),
            Command::Rm(args) => cmd::rm::rm(args, store),
            Command::Rmi(args) => cmd::rmi::rmi(args, store),
            Command::Tag(args) => cmd::tag::tag(args, store),
            Command::Version => output::write(concat!("plyfs ", env!("CARGO_PKG_VERSION"), "\n")),
            Command::Ps(args) => cmd::ps::ps(args, store),
            Command::Generate(args) => generate::generate(args, &Self::command()),
            Command::History(args) => cmd::history::history(args, store),
            Command::Inspect(args) => cmd::inspect::inspect(args, store),
            Command::Df(args) => cmd::df::df(args, store),
            Command::Fsck(args) => cmd::fsck::fsck(args, store),
            Command::Prune(args) => cmd::prune::prune(args, store),
            Command::Save(args) => cmd::save::save(args, store),
            Command::Umount(args) => cmd::umount::umount(args, store),
            Command::Stop(args) => cmd::stop::stop(args, store),
            Command::Kill(args) => cmd::kill::kill(args, store),
            Command::Unshare(args) => cmd::unshare::unshare(args),
        }
    }
}

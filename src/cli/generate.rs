//! `plyfs generate`: manual pages and completions, made from the command line that the program has.
//!
//! It is for the Makefile and for packagers, and not shown in the help.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{completions, manual};
use crate::error::{Context, Result};

/// Write the files that are installed beside the program
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Manual pages, or completions for shells
    pub(crate) what: Generated,
    /// The directory to write to
    pub(crate) dir: PathBuf,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Generated {
    Man,
    Completions,
}

/// The name that the program is installed under.
const NAME: &str = "plyfs";

/// Writes manual pages or completions of `command`, the whole command line, to a directory.
pub(crate) fn generate(args: &GenerateArgs, command: &Command) -> Result {
    let shown = args.dir.display();
    std::fs::create_dir_all(&args.dir).context(format_args!("create {shown}"))?;
    let written = match args.what {
        Generated::Man => manual_pages(&args.dir, command),
        Generated::Completions => write_completions(&args.dir, command),
    };
    written.context(format_args!("write to {shown}"))
}

/// A page for the program, and one for each of its commands.
fn manual_pages(dir: &Path, command: &Command) -> std::io::Result<()> {
    // `plyfs help` needs no page of its own, nor one for each command again.
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let Some(page) = manual::page(subcommand.get_name()) else {
            man(subcommand.clone()).generate_to(dir)?;
            continue;
        };
        // The page has the examples in a section of their own.
        let generated = man(subcommand.clone().after_help(None::<&str>));
        let mut file = File::create(dir.join(generated.get_filename()))?;
        generated.render(&mut file)?;
        page.write(&mut file)?;
    }
    man(command).generate_to(dir)?;
    Ok(())
}

/// A page with the version of the program in its last line.
fn man(command: Command) -> Man {
    Man::new(command).source(format!("{NAME} {}", env!("CARGO_PKG_VERSION")))
}

fn write_completions(dir: &Path, command: &Command) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = clap_complete::generate_to(shell, &mut command.clone(), NAME, dir)?;
        let script = std::fs::read_to_string(&path)?;
        std::fs::write(&path, completions::add(shell, &script, command))?;
    }
    Ok(())
}

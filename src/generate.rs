//! `plyfs generate`: manual pages and completions, made from the command line that the program has.
//!
//! It is for the Makefile and for packagers, and not shown in the help.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, GenerateArgs, Generated};
use crate::failure::{Doing, Outcome};

/// The name that the program is installed under.
const NAME: &str = "plyfs";

/// Writes what is asked for to a directory.
pub(crate) fn generate(args: &GenerateArgs) -> Outcome {
    let shown = args.dir.display();
    std::fs::create_dir_all(&args.dir).doing(format_args!("create {shown}"))?;
    let written = match args.what {
        Generated::Man => manual_pages(&args.dir),
        Generated::Completions => completions(&args.dir),
    };
    written.doing(format_args!("write to {shown}"))
}

/// A page for the program, and one for each of its commands.
fn manual_pages(dir: &Path) -> std::io::Result<()> {
    // `plyfs help` needs no page of its own, nor one for each command again.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, dir)
}

fn completions(dir: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), NAME, dir)?;
    }
    Ok(())
}

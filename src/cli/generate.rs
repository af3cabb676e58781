//! `plyfs generate`: manual pages and completions, made from the command line that the program has.
//!
//! It is for the Makefile and for packagers, and not shown in the help.

use std::fs::File;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{completions, manual};
use crate::cli::{Cli, GenerateArgs, Generated};
use crate::error::{Context, Result};

/// The name that the program is installed under.
const NAME: &str = "plyfs";

/// Writes what is asked for to a directory.
pub(crate) fn generate(args: &GenerateArgs) -> Result {
    let shown = args.dir.display();
    std::fs::create_dir_all(&args.dir).context(format_args!("create {shown}"))?;
    let written = match args.what {
        Generated::Man => manual_pages(&args.dir),
        Generated::Completions => completions(&args.dir),
    };
    written.context(format_args!("write to {shown}"))
}

/// A page for the program, and one for each of its commands.
fn manual_pages(dir: &Path) -> std::io::Result<()> {
    // `plyfs help` needs no page of its own, nor one for each command again.
    let mut command = Cli::command().disable_help_subcommand(true);
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
fn man(command: clap::Command) -> Man {
    Man::new(command).source(format!("{NAME} {}", env!("CARGO_PKG_VERSION")))
}

fn completions(dir: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = clap_complete::generate_to(shell, &mut Cli::command(), NAME, dir)?;
        let script = std::fs::read_to_string(&path)?;
        std::fs::write(&path, completions::add(shell, &script))?;
    }
    Ok(())
}

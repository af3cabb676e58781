//! What people type who know Podman and Docker, and what does the same here.
//!
//! Each answer completes a message about a command or an option that plyfs does not have. docs/containers.md has the
//! options of `run` in its tables; a test compares them.

mod commands;
mod options;
mod run_options;

use commands::{COMMANDS, GROUPS, IN_GROUPS};
use options::OPTIONS;
use run_options::OF_RUN;

/// What to say of a command that plyfs does not have. `next` is the word behind it, `commands`
/// is the whole command line.
pub(crate) fn command(word: &str, next: Option<&str>, commands: &clap::Command) -> Option<String> {
    let group = GROUPS.iter().position(|group| *group == word);
    let Some(group) = group else {
        let instead = known(COMMANDS, word)?;
        return Some(format!("there is no command '{word}': {instead}"));
    };
    let Some(next) = next.filter(|next| !next.starts_with('-')) else {
        return Some(format!(
            "there is no command '{word}': plyfs has no groups of commands; what \"{word} rm\" does elsewhere, \
             \"plyfs {}\" does",
            known(IN_GROUPS, "rm").and_then(|commands| commands.get(group))?
        ));
    };
    let instead = match known(IN_GROUPS, next) {
        Some(commands) => commands.get(group).copied().unwrap_or_default(),
        None if commands.find_subcommand(next).is_some() => next,
        None => {
            let instead = known(COMMANDS, next)?;
            return Some(format!("there is no command '{word} {next}': {instead}"));
        }
    };
    Some(format!(
        "there is no command '{word} {next}': use \"plyfs {instead}\""
    ))
}

fn known<'t, T>(table: &'t [(&[&str], T)], word: &str) -> Option<&'t T> {
    let mut table = table.iter();
    let found = table.find(|(words, _)| words.contains(&word));
    found.map(|(_, answer)| answer)
}

/// Why a command has no such option, or what to use instead.
pub(crate) fn option(command: &str, option: &str) -> Option<String> {
    if matches!(command, "run" | "bundle") {
        let why = known(OF_RUN, option)?;
        return Some(format!(
            "{why}; docs/containers.md has all options, and what Podman does instead"
        ));
    }
    let mut options = OPTIONS.iter();
    let of_command = |(commands, options, _): &&(&[&str], &[&str], _)| {
        commands.contains(&command) && options.contains(&option)
    };
    options
        .find(of_command)
        .map(|(_, _, answer)| (*answer).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// The commands and options in quotes of an answer can be given.
    fn assert_answer_holds(answer: &str) {
        let cli = Cli::command();
        for quoted in answer.split('"').skip(1).step_by(2) {
            let mut words = quoted.split(' ');
            if words.next() != Some("plyfs") {
                continue;
            }
            let name = words.next().unwrap_or_default();
            let command = cli.find_subcommand(name);
            let command = command.unwrap_or_else(|| panic!("{answer}: there is no {name}"));
            for long in words.filter_map(|word| word.strip_prefix("--")) {
                let mut options = command.get_arguments();
                let known = options.any(|option| option.get_long() == Some(long));
                assert!(known, "{answer}: {name} has no --{long}");
            }
        }
    }

    #[test]
    fn answers_name_what_there_is() {
        let cli = Cli::command();
        let in_groups =
            |second: &str| GROUPS.map(|group| command(group, Some(second), &cli).unwrap());
        let answers = COMMANDS.iter().map(|(_, answer)| (*answer).to_owned());
        let answers = answers.chain(OF_RUN.iter().map(|(_, answer)| (*answer).to_owned()));
        let answers = answers.chain(OPTIONS.iter().map(|(_, _, answer)| (*answer).to_owned()));
        let answers = answers.chain(
            IN_GROUPS
                .iter()
                .flat_map(|(words, _)| words.iter())
                .flat_map(|second| in_groups(second)),
        );
        for answer in answers {
            assert_answer_holds(&answer);
        }
    }

    #[test]
    fn what_there_is_has_no_answer() {
        let cli = Cli::command();
        for (words, _) in COMMANDS {
            for word in *words {
                assert!(cli.find_subcommand(word).is_none(), "{word}");
            }
        }
        let has = |command: &str, option: &str| {
            let command = cli.get_subcommands().find(|one| {
                one.get_name() == command || one.get_all_aliases().any(|alias| alias == command)
            });
            let mut options = command
                .unwrap_or_else(|| panic!("no {option}"))
                .get_arguments();
            options.any(|one| {
                let long = one.get_long().map(|long| format!("--{long}"));
                let short = one.get_short().map(|short| format!("-{short}"));
                long.as_deref() == Some(option) || short.as_deref() == Some(option)
            })
        };
        for option in OF_RUN.iter().flat_map(|(options, _)| options.iter()) {
            assert!(!has("run", option), "{option}");
        }
        for (commands, options, _) in OPTIONS {
            for command in *commands {
                for option in options.iter().filter(|option| has(command, option)) {
                    // Where one command of several has it, the parser never asks.
                    assert!(commands.len() > 1, "{command} {option}");
                }
            }
        }
    }

    #[test]
    fn the_page_on_containers_has_every_option_that_is_not_there() {
        let page = include_str!("../../../docs/containers.md");
        let words: Vec<&str> = page
            .split(|character: char| !character.is_ascii_alphanumeric() && character != '-')
            .collect();
        for option in OF_RUN.iter().flat_map(|(options, _)| options.iter()) {
            let health = option.starts_with("--health-") && words.contains(&"--health-");
            assert!(health || words.contains(option), "{option}");
        }
    }
}

//! Reading the arguments of the process, and what to say about arguments that make no sense.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser};

use super::other_tools;
use super::{Cli, Command, Global};
use crate::cmd;
use crate::error::{CliError, NOT_STARTED, Result, USAGE};

impl Cli {
    /// Reads the arguments of this process. What asks for help is answered here.
    pub(crate) fn read() -> Result<Self> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        if let Some(cli) = Self::read_mount(&arguments) {
            return Ok(cli);
        }
        let read = Self::try_parse_from(&arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => {
                let subcommand = subcommand();
                let subcommand = subcommand.as_deref();
                not_understood(&error, &arguments, subcommand).with_status(status_of(subcommand))
            }
        });
        read.and_then(Self::checked)
    }

    /// Refuses options that contradict each other, before anything is made.
    fn checked(self) -> Result<Self> {
        let checked = match &self.command {
            Command::Run(args) => args.container_options.check(),
            Command::Bundle(args) => args.container_options.check(),
            _ => Ok(()),
        };
        let command = matches!(self.command, Command::Run(_)).then_some("run");
        checked.map_err(|failure| failure.with_status(status_of(command)))?;
        Ok(self)
    }

    /// Reads the arguments of `mount` and `umount`, without describing all other commands to the parser first: that takes
    /// a quarter of the time that a mount takes. `None` for other commands, and for whatever there is to
    /// say something about.
    fn read_mount(arguments: &[OsString]) -> Option<Self> {
        match arguments.get(1)?.to_str()? {
            "mount" => Self::read_alone("mount", arguments, Command::Mount),
            "umount" => Self::read_alone("umount", arguments, Command::Umount),
            _ => None,
        }
    }

    fn read_alone<A: Args>(
        name: &'static str,
        arguments: &[OsString],
        command: impl Fn(A) -> Command,
    ) -> Option<Self> {
        let parser = Global::augment_args(clap::Command::new("plyfs"));
        let parser = parser.subcommand(A::augment_args(clap::Command::new(name)));
        let matches = parser.try_get_matches_from(arguments).ok()?;
        Some(Self {
            global: Global::from_arg_matches(&matches).ok()?,
            command: command(A::from_arg_matches(matches.subcommand_matches(name)?).ok()?),
        })
    }
}

/// The command that was chosen, as far as the arguments can be understood.
fn subcommand() -> Option<String> {
    let matches = Cli::command().ignore_errors(true).try_get_matches().ok()?;
    matches.subcommand_name().map(str::to_owned)
}

/// Turns the paragraphs of the parser about wrong arguments into one line.
fn not_understood(
    error: &clap::Error,
    arguments: &[OsString],
    subcommand: Option<&str>,
) -> CliError {
    if let Some(meant) = meant(error, arguments, subcommand) {
        return CliError::new(meant);
    }
    let said = error.render().to_string();
    let (what, rest) = said.split_once("\n\n").unwrap_or((&said, ""));
    let what = what.trim_start_matches("error: ");
    let what: Vec<&str> = what.split_whitespace().collect();
    let mut line = what.join(" ");
    let tips = rest.lines().filter_map(|line| line.split_once("tip: "));
    // An option is never meant as a word: those of a program that is run are taken as they are.
    for (_, tip) in tips.filter(|(_, tip)| !tip.starts_with("to pass '")) {
        line.push_str("; ");
        line.push_str(tip.trim());
    }
    let command = subcommand.map_or(String::new(), |name| format!(" {name}"));
    CliError::new(format_args!("{line}; see plyfs{command} --help"))
}

/// The exit status for arguments that a command does not understand.
fn status_of(subcommand: Option<&str>) -> u8 {
    match subcommand {
        // What the command that is run ends with must be told from this.
        Some("run" | "exec") => NOT_STARTED,
        Some("fsck") => cmd::fsck::USAGE,
        _ => USAGE,
    }
}

/// A better answer than that of the parser, which compares letters only: it suggests "generate" for "delete".
fn meant(error: &clap::Error, arguments: &[OsString], subcommand: Option<&str>) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match (error.kind(), subcommand) {
        (ErrorKind::InvalidSubcommand, _) => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let mut words = arguments.iter().skip_while(|argument| *argument != word);
            let next = words.nth(1).and_then(|next| next.to_str());
            other_tools::command(word, next, &Cli::command())
        }
        (ErrorKind::UnknownArgument, Some(command)) => {
            let word = word(ContextKind::InvalidArg)?;
            let instead = other_tools::option(command, word)?;
            Some(format!("{command} has no option '{word}': {instead}"))
        }
        (ErrorKind::MissingRequiredArgument, Some("mount")) => Some(NO_MOUNT_POINT.to_owned()),
        _ => None,
    }
}

/// The message for `mount` without any argument.
const NO_MOUNT_POINT: &str = "the directory to mount on is missing: give it last, as in \"plyfs mount IMAGE /mnt\" \
     or \"plyfs mount --container NAME /mnt\"; see plyfs mount --help";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_alone_is_read_as_among_all_commands() {
        let lines = [
            "plyfs mount -o lowerdir=/a:/b,ro /mnt",
            "plyfs mount --store /s --verbose image /mnt --backend fuse -q",
            "plyfs mount --verbose --verbose --container c --foreground /mnt",
            "plyfs umount -l /mnt",
            "plyfs umount --lazy -- -mnt",
        ];
        for line in lines {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let alone = Cli::read_mount(&arguments).unwrap();
            let among_all = Cli::try_parse_from(&arguments).unwrap();
            assert_eq!(format!("{alone:?}"), format!("{among_all:?}"));
        }
        for line in [
            "plyfs",
            "plyfs mount",
            "plyfs mount --help",
            "plyfs mount --no-such /mnt",
            "plyfs umount /a /b",
            "plyfs run image",
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(Cli::read_mount(&arguments).is_none(), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_understood_is_one_line() {
        let said = |arguments: &[&str]| {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            not_understood(&error, &words, arguments.get(1).copied()).to_string()
        };
        assert_eq!(
            said(&["plyfs", "images", "--jsn"]),
            "unexpected argument '--jsn' found; a similar argument exists: '--json'; see plyfs \
             images --help"
        );
        assert_eq!(
            said(&["plyfs", "delete"]),
            "there is no command 'delete': \"plyfs rm\" removes containers, and \"plyfs rmi\" images"
        );
        assert_eq!(
            said(&["plyfs", "import"]),
            "the following required arguments were not provided: <SOURCE>; see plyfs import --help"
        );
    }
}

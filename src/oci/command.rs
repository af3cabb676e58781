//! The command of a container: what the image says, and what the user says instead.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use plyfs_store::ImageConfiguration;

use super::options::ContainerOptions;
use crate::error::{CliError, Context, Result};

/// What is to be run: what the image says, with what the user puts in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The program and its arguments; never empty.
    pub(crate) arguments: Vec<String>,
    /// An absolute path in the container.
    pub(crate) directory: PathBuf,
    /// `User` of the image's configuration, or what replaces it.
    pub(crate) user: String,
}

impl Command {
    /// Puts together what `words` (the arguments of the command line), the options and the image say.
    ///
    /// # Errors
    /// If nothing of them names a program, or a word is not UTF-8.
    pub(crate) fn new(
        words: &[OsString],
        options: &ContainerOptions,
        image: &ImageConfiguration,
        name: &str,
    ) -> Result<Self> {
        let config = image.config().as_ref();
        let list =
            |field: Option<&Option<Vec<String>>>| field.cloned().flatten().unwrap_or_default();
        let text = |field: Option<&Option<String>>| field.cloned().flatten().unwrap_or_default();
        // With an entrypoint of the user's the image's arguments mean nothing.
        let (mut arguments, own_command) = match &options.entrypoint {
            Some(program) if program.is_empty() => (Vec::new(), Vec::new()),
            Some(program) => (entrypoint(&utf8(program)?)?, Vec::new()),
            None => (
                list(config.map(|config| config.entrypoint())),
                list(config.map(|config| config.cmd())),
            ),
        };
        if words.is_empty() {
            arguments.extend(own_command);
        } else {
            for word in words {
                arguments.push(utf8(word)?);
            }
        }
        if arguments.is_empty() {
            return Err(CliError::new(format_args!(
                "the image {name} names no command; give one"
            )));
        }
        let directory = match &options.workdir {
            Some(directory) => directory.clone(),
            None => text(config.map(|config| config.working_dir())).into(),
        };
        Ok(Self {
            arguments,
            directory: Path::new("/").join(directory),
            user: match &options.user {
                Some(user) => user.clone(),
                None => text(config.map(|config| config.user())),
            },
        })
    }
}

/// One program, or a list in JSON.
fn entrypoint(text: &str) -> Result<Vec<String>> {
    if text.starts_with('[') {
        return serde_json::from_str(text).context("understand the list of --entrypoint");
    }
    Ok(vec![text.to_owned()])
}

fn utf8(word: &OsStr) -> Result<String> {
    word.to_str().map(str::to_owned).ok_or_else(|| {
        CliError::new(format_args!(
            "the word {} of the command is not UTF-8, as the OCI runtime specification wants it",
            word.display()
        ))
    })
}

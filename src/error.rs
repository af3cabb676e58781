//! Errors of commands: one line for people, and an exit status.

use std::fmt;

/// Exit status for arguments that a command does not understand.
pub(crate) const USAGE: u8 = 2;
/// Exit status when a container could not be started, as Podman has it.
pub(crate) const NOT_STARTED: u8 = 125;
/// Exit status of a program that exists but cannot be run, as shells have it.
pub(crate) const CANNOT_RUN: u8 = 126;
/// Exit status of a program that does not exist, as shells have it.
pub(crate) const NOT_FOUND: u8 = 127;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct CliError {
    message: String,
    status: u8,
}

/// The result of a command or a part of one.
pub(crate) type Result<T = (), E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// An error with exit status 1.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            status: 1,
        }
    }

    /// An exit status without a message: the program that was run has written its own.
    pub(crate) fn silent(status: u8) -> Self {
        Self {
            message: String::new(),
            status,
        }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// The same error with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<plyfs_fs::MountError> for CliError {
    fn from(error: plyfs_fs::MountError) -> Self {
        Self::new(reason(&error))
    }
}

/// Adds to an error which operation failed.
pub(crate) trait Context<T> {
    /// `action` is the operation and its object, as they stand after "cannot".
    fn context(self, action: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn context(self, action: impl fmt::Display) -> Result<T> {
        self.map_err(|error| CliError::new(format_args!("cannot {action}: {}", reason(&error))))
    }
}

/// The text of an error, without the numbers that the standard library appends to the words of system errors.
pub(crate) fn reason(error: &impl fmt::Display) -> String {
    const NUMBER: &str = " (os error ";
    let mut text = error.to_string();
    while let Some(start) = text.find(NUMBER) {
        let Some(length) = text[start..].find(')') else {
            break;
        };
        text.replace_range(start..=start + length, "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_numbers() {
        let missing = std::fs::File::open("/no/such/file").context("open it");
        assert_eq!(
            missing.unwrap_err().to_string(),
            "cannot open it: No such file or directory"
        );
        // What follows the number stays, such as a remedy.
        let cause = std::io::Error::from_raw_os_error(2);
        assert_eq!(
            reason(&format!("{cause}; make it (first)")),
            "No such file or directory; make it (first)"
        );
    }
}

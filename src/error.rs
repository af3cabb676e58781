//! How a command fails: one line for people, and an exit status.

use std::fmt;

/// What ended a command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

/// The result of a command or a part of one.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with exit status 1.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            status: 1,
        }
    }

    /// An exit status without a message: a command that was run has had its own say.
    pub(crate) fn silent(status: u8) -> Self {
        Self {
            message: String::new(),
            status,
        }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// The same failure with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<plyfs_fs::MountError> for Failure {
    fn from(error: plyfs_fs::MountError) -> Self {
        Self::new(reason(&error))
    }
}

/// Says what was being done when something failed.
pub(crate) trait Doing<T> {
    /// `what` reads well after "cannot".
    fn doing(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(format_args!("cannot {what}: {}", reason(&error))))
    }
}

/// What an error says, without the number that the standard library adds to the words.
pub(crate) fn reason(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_numbers() {
        let missing = std::fs::File::open("/no/such/file").doing("open it");
        assert_eq!(
            missing.unwrap_err().to_string(),
            "cannot open it: No such file or directory"
        );
    }
}

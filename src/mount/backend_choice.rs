//! The backend that a user wants for a mount: an option, a variable of the environment, or none.

use std::fmt;
use std::str::FromStr;

use crate::error::{CliError, Result};

/// The backend that the user wants for a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum BackendChoice {
    /// The kernel's overlay where it can give all that is asked for, else FUSE
    #[default]
    Auto,
    /// The kernel's overlay
    Kernel,
    /// This program, through FUSE
    Fuse,
}

impl BackendChoice {
    /// The values, for a message.
    pub(crate) const NAMES: &str = "auto, kernel or fuse";
    /// The environment variable that gives the backend where neither an option nor an argument does.
    pub(crate) const VARIABLE: &str = "PLYFS_BACKEND";

    /// The backend that the arguments give, or else the environment.
    pub(crate) fn or_environment(asked: Option<Self>) -> Result<Option<Self>> {
        if asked.is_some() {
            return Ok(asked);
        }
        // An empty variable counts as unset.
        let value = std::env::var_os(Self::VARIABLE).filter(|value| !value.is_empty());
        let Some(value) = value else { return Ok(None) };
        let choice = value.to_str().and_then(|value| value.parse().ok());
        choice.map(Some).ok_or_else(|| {
            CliError::new(format_args!(
                "{} takes {}, not {value:?}",
                Self::VARIABLE,
                Self::NAMES
            ))
        })
    }
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kernel => "kernel",
            Self::Fuse => "fuse",
        })
    }
}

impl FromStr for BackendChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "fuse" => Ok(Self::Fuse),
            _ => Err(()),
        }
    }
}

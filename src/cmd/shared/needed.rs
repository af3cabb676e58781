//! The image that a command needs, pulled if the store does not have it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use plyfs_store::{Image, Store, escaped};

use crate::error::{CliError, Context, Result};
use crate::image_mount::is_unknown_image;
use crate::registry::{CREDS, RegistryArgs};

/// The environment's policy for commands without `--pull`.
const POLICY: &str = "PLYFS_PULL";

/// When an image is pulled before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// If the store does not have it
    Missing,
    /// Every time
    Always,
    /// Every time, but what the store has is used if that fails
    Newer,
    /// Not at all
    Never,
}

/// Options of commands that need an image.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NeededArgs {
    /// When to pull the image first [default: $PLYFS_PULL, else missing]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) pull: Option<Policy>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

impl NeededArgs {
    /// For callers at which nothing may come from a network.
    pub(crate) fn never() -> Self {
        Self {
            pull: Some(Policy::Never),
            ..Self::default()
        }
    }

    /// The store, made if there is none and images may be pulled to it.
    pub(crate) fn store(&self, location: PathBuf) -> Result<Store> {
        match Store::open_existing(&location) {
            Err(plyfs_store::Error::NoStore { .. }) if self.policy()? != Policy::Never => {
                Ok(Store::open(location)?)
            }
            opened => Ok(opened?),
        }
    }

    fn policy(&self) -> Result<Policy> {
        if let Some(policy) = self.pull {
            return Ok(policy);
        }
        match std::env::var(POLICY) {
            Ok(text) if !text.is_empty() => Policy::from_str(&text, false).map_err(|_| {
                CliError::new(format_args!(
                    "{POLICY} is \"{}\": it can be missing, always, newer or never",
                    escaped(&text)
                ))
            }),
            _ => Ok(Policy::Missing),
        }
    }

    /// The image of this name, after it was pulled if need be.
    pub(crate) fn image(&self, store: &Store, name: &str) -> Result<Image> {
        let here = store.image(name);
        match (self.policy()?, here) {
            (Policy::Never, here) => Ok(here?),
            (Policy::Missing, Err(error)) if is_unknown_image(&error) => {
                match self.pull(store, name)? {
                    Pulled::Done => Ok(store.image(name)?),
                    Pulled::Failed(why) => Err(CliError::new(format_args!(
                        "there is no image \"{}\" in the store, and it cannot be pulled: {why}",
                        escaped(name)
                    ))),
                }
            }
            (Policy::Missing, here) => Ok(here?),
            (Policy::Always | Policy::Newer, Err(error)) if !is_unknown_image(&error) => {
                Err(error.into())
            }
            (policy, here) => match (self.pull(store, name)?, here) {
                (Pulled::Done, _) => Ok(store.image(name)?),
                (Pulled::Failed(why), Ok(here)) if policy == Policy::Newer => {
                    log::warn!("{} is used as the store has it: {why}", escaped(name));
                    Ok(here)
                }
                (Pulled::Failed(why), _) => Err(CliError::new(why)),
            },
        }
    }

    /// Pulls in a process of its own: the threads and signals of a pull have no place in one that starts a container
    /// or serves a mount.
    fn pull(&self, store: &Store, name: &str) -> Result<Pulled> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("--store").arg(store.path());
        command.args(["pull", "--for-command"]);
        if let Some(file) = &self.registry.authfile {
            command.arg("--authfile").arg(file);
        }
        if let Some(creds) = &self.registry.creds {
            // Arguments are visible to other users.
            command.env(CREDS, creds);
        }
        if let Some(verify) = self.registry.tls_verify {
            command.arg(format!("--tls-verify={verify}"));
        }
        let output = command
            .arg("--")
            .arg(name)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("start the pull")?;
        match output.status.success() {
            true => Ok(Pulled::Done),
            false => {
                let why = String::from_utf8_lossy(&output.stdout);
                let why = why.trim_end();
                Ok(Pulled::Failed(match why.is_empty() {
                    true => format!("the pull has ended with {}", output.status),
                    false => why.to_owned(),
                }))
            }
        }
    }
}

/// What came of a pull.
enum Pulled {
    Done,
    /// Why not, in one line.
    Failed(String),
}

//! How registries are reached: options of the commands, and the client that follows from them.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ArgAction, Args};
use plyfs_registry::{Client, Credentials, Interrupt, Options, Places};

use crate::error::{CliError, Context, Result};
use crate::output;

/// The longest password that is read from standard input, in bytes.
const LONGEST_PASSWORD: u64 = 64 << 10;

/// The variable that serves in the place of `--creds`.
pub(crate) const CREDS: &str = "PLYFS_CREDS";

/// Options of all commands that speak to a registry.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RegistryArgs {
    /// The file with credentials [default: $REGISTRY_AUTH_FILE, else ${XDG_RUNTIME_DIR}/containers/auth.json, then
    /// ~/.config/containers/auth.json and ~/.docker/config.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// The user name and password for the registry, instead of those in files. Other users see the arguments of a
    /// command: rather set $PLYFS_CREDS, or log in
    #[arg(long, value_name = "USER:PASSWORD", env = CREDS, hide_env_values = true)]
    pub(crate) creds: Option<String>,
    /// With false, accept any certificate, and plain HTTP [default: as registries.conf says]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) tls_verify: Option<bool>,
}

impl RegistryArgs {
    /// Where settings are looked for.
    pub(crate) fn places(&self) -> Places {
        let mut places = Places::from_env();
        if let Some(authfile) = &self.authfile {
            places.auth_file = Some(authfile.clone());
        }
        places
    }

    /// A client that stops when `asked` is set.
    pub(crate) fn connect(&self, asked: Arc<AtomicBool>) -> Result<Client> {
        let interrupt = Interrupt::new(move || asked.load(Ordering::Relaxed));
        let options = Options {
            interrupt,
            credentials: self.credentials()?,
            tls_verify: self.tls_verify,
            ..Options::new(self.places())
        };
        Client::new(options).map_err(CliError::new)
    }

    /// Those of `--creds`.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>> {
        let Some(text) = &self.creds else {
            return Ok(None);
        };
        let (user, password) = text.split_once(':').ok_or_else(|| {
            CliError::new("--creds takes a user name and a password with a colon between them")
        })?;
        Ok(Some(Credentials::password(user, password)))
    }
}

/// A password from standard input, without the end of its line.
pub(crate) fn password_from_stdin() -> Result<String> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(LONGEST_PASSWORD);
    input
        .read_to_string(&mut text)
        .context("read the password from standard input")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for something while the terminal at standard input does not show what is typed.
pub(crate) fn no_echo<T>(ask: impl FnOnce() -> Result<T>) -> Result<T> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal).context("ask for the password")?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).context("ask for the password")?;
    let answer = ask();
    let restored = tcsetattr(&terminal, OptionalActions::Now, &before);
    output::complain(&"");
    restored.context("show again what is typed")?;
    answer
}

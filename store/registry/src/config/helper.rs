//! Credential helpers: programs named `docker-credential-NAME` that keep passwords elsewhere.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::retry::{Interrupt, SLICE};
use crate::{Credentials, Error};

use super::pair::{from_pair, to_pair};

/// How long a helper may take. It may have to ask the user to unlock a keyring.
const LONGEST: Duration = Duration::from_secs(60);
/// The most that is read of what a helper writes.
const LARGEST_ANSWER: u64 = 64 << 10;
/// The most of it that can be one of the error messages of the protocol.
const LONGEST_MESSAGE: usize = 200;

/// A helper, for one host.
#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    host: String,
    program: OsString,
    interrupt: Interrupt,
    longest: Duration,
}

/// What `get` answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// How a helper ended.
struct Ended {
    succeeded: bool,
    output: Vec<u8>,
}

impl Helper {
    /// The helper of a name, in a directory or on `$PATH`.
    pub(super) fn new(name: &str, host: &str, dir: Option<&Path>, interrupt: &Interrupt) -> Self {
        let program = format!("docker-credential-{name}");
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            program: match dir {
                Some(dir) => dir.join(program).into(),
                None => program.into(),
            },
            interrupt: interrupt.clone(),
            longest: LONGEST,
        }
    }

    /// The credentials for a server, if the helper has any.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credentials>, Error> {
        let ended = self.run("get", server.as_bytes())?;
        if !ended.succeeded {
            return match ended.says("credentials not found") {
                true => Ok(None),
                // What else it wrote may hold a secret.
                false => Err(self.error("it failed")),
            };
        }
        let answer: Answer = serde_json::from_slice(&ended.output)
            .map_err(|_| self.error("its answer is not understood"))?;
        Ok((!answer.secret.is_empty()).then(|| from_pair(&answer.username, &answer.secret)))
    }

    /// Stores credentials.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<(), Error> {
        let (user, secret) = to_pair(credentials);
        let input = json!({ "ServerURL": server, "Username": user, "Secret": secret }).to_string();
        match self.run("store", input.as_bytes())?.succeeded {
            true => Ok(()),
            false => Err(self.error("it failed to store them")),
        }
    }

    /// Removes what is stored for a server. Returns whether there was something.
    pub(super) fn erase(&self, server: &str) -> Result<bool, Error> {
        let had = self.get(server)?.is_some();
        match had && !self.run("erase", server.as_bytes())?.succeeded {
            true => Err(self.error("it failed to remove them")),
            false => Ok(had),
        }
    }

    /// The error of this helper.
    fn error(&self, why: impl Into<String>) -> Error {
        Error::Helper {
            helper: self.name.clone(),
            host: self.host.clone(),
            why: why.into(),
        }
    }

    /// Runs the helper with an input, for a bounded time.
    fn run(&self, verb: &str, input: &[u8]) -> Result<Ended, Error> {
        if self.name.is_empty() || self.name.contains(['/', '\0']) {
            return Err(self.error("this is no name of a helper"));
        }
        let mut child = self
            .spawn(verb)
            .map_err(|error| self.error(format!("cannot run it: {error}")))?;
        let result = self.talk(&mut child, input);
        if result.is_err() {
            // It may have ended by itself in the meantime.
            child.kill().ok();
        }
        let status = child.wait();
        let output = result?;
        let succeeded = status.is_ok_and(|status| status.success());
        Ok(Ended { succeeded, output })
    }

    /// Starts the helper.
    fn spawn(&self, verb: &str) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command.spawn()
    }

    /// Writes the input and reads the answer. The thread ends with the helper's output.
    fn talk(&self, child: &mut Child, input: &[u8]) -> Result<Vec<u8>, Error> {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that reads nothing says by its status what that means.
            stdin.write_all(input).ok();
        }
        let Some(stdout) = child.stdout.take() else {
            return Ok(Vec::new());
        };
        let (sender, receiver) = mpsc::channel();
        let read = move || {
            let mut output = Vec::new();
            let result = stdout
                .take(LARGEST_ANSWER)
                .read_to_end(&mut output)
                .map(|_| output);
            // Without a receiver the wait is over.
            sender.send(result).ok();
        };
        thread::Builder::new()
            .spawn(read)
            .map_err(|error| self.error(format!("cannot start a thread: {error}")))?;
        let end = Instant::now() + self.longest;
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(Ok(output)) => return Ok(output),
                Err(RecvTimeoutError::Timeout) if self.interrupt.is_set() => {
                    return Err(Error::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.error("it did not answer in time"));
                }
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.error("its answer cannot be read"));
                }
            }
        }
    }
}

impl Ended {
    /// Whether the output is a message that begins so.
    fn says(&self, message: &str) -> bool {
        let text = String::from_utf8_lossy(&self.output);
        self.output.len() < LONGEST_MESSAGE && text.trim_start().starts_with(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A helper that is a shell script.
    fn helper(dir: &Path, script: &str) -> Helper {
        let path = dir.join("docker-credential-test");
        // Renamed into place, so that no thread's fork holds it open for writing.
        let beside = dir.join("new");
        fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&beside, &path).unwrap();
        Helper::new("test", "a.io", Some(dir), &Interrupt::never())
    }

    /// Runs `get`, again if another thread's fork held the script open for writing.
    fn get(helper: &Helper) -> Result<Option<Credentials>, Error> {
        loop {
            match helper.get("a.io") {
                Err(error) if error.to_string().contains("Text file busy") => {}
                other => return other,
            }
        }
    }

    #[test]
    fn a_helper_answers_with_a_pair_a_token_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let echo = r#"read host; [ "$1 $host" = "get a.io" ] && echo '{"ServerURL":"x","Username":"ann","Secret":"pw"}'"#;
        let found = get(&helper(dir.path(), echo)).unwrap();
        assert_eq!(found, Some(Credentials::password("ann", "pw")));
        let token = r#"echo '{"Username":"<token>","Secret":"tk"}'"#;
        let found = get(&helper(dir.path(), token)).unwrap();
        assert_eq!(found, Some(Credentials::Identity(crate::Secret::new("tk"))));
        let none = "echo credentials not found in native keychain; exit 1";
        assert_eq!(get(&helper(dir.path(), none)).unwrap(), None);
    }

    #[test]
    fn a_failing_helper_is_named_without_its_output() {
        let dir = tempfile::tempdir().unwrap();
        for script in ["echo hunter2; exit 3", "echo hunter2", "exit 1"] {
            let error = get(&helper(dir.path(), script)).unwrap_err().to_string();
            assert!(
                error.contains("docker-credential-test") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let missing = Helper::new("none", "a.io", Some(dir.path()), &Interrupt::never());
        assert!(
            missing
                .get("a.io")
                .unwrap_err()
                .to_string()
                .contains("cannot run it")
        );
        let climbing = Helper::new("../x", "a.io", Some(dir.path()), &Interrupt::never());
        assert!(climbing.get("a.io").is_err());
    }

    #[test]
    fn a_helper_that_hangs_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut slow = helper(dir.path(), "exec sleep 60");
        slow.longest = Duration::from_millis(50);
        let start = Instant::now();
        assert!(get(&slow).unwrap_err().to_string().contains("in time"));
        slow.interrupt = Interrupt::new(|| true);
        assert!(matches!(get(&slow), Err(Error::Interrupted)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

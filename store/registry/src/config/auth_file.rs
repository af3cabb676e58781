//! auth.json and Docker's config.json: the credentials of users. See containers-auth.json(5).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::name::DOCKER_HUB;
use crate::retry::Interrupt;
use crate::{Credentials, Error, Secret};

use super::helper::Helper;
use super::pair::from_pair;
use super::{Places, invalid, read};

/// Docker's name for Docker Hub in its files.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The files with credentials.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    places: Places,
    interrupt: Interrupt,
}

impl AuthFiles {
    /// The files at these places. The callback ends the wait for a credential helper.
    pub fn new(places: &Places, interrupt: Interrupt) -> Self {
        Self {
            places: places.clone(),
            interrupt,
        }
    }

    /// The credentials for a repository, `HOST[/PATH]`: those of the most specific key in the first file that
    /// has any.
    ///
    /// # Errors
    /// [`Error::Config`] if a file is damaged, [`Error::Io`] if it cannot be read, [`Error::Helper`] if a helper
    /// fails, [`Error::Interrupted`] if the callback says so while one runs.
    pub fn find(&self, repository: &str) -> Result<Option<Credentials>, Error> {
        for path in self.to_read() {
            let Some(document) = load(&path)? else {
                continue;
            };
            let found = self
                .find_in(&document, repository)
                .map_err(|why| match why {
                    Problem::Document(why) => invalid(&path, why),
                    Problem::Error(error) => error,
                })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Stores credentials for `HOST[/PATH]`, with the helper if the file names one for the host, and returns the
    /// file. Everything else in the file stays.
    ///
    /// # Errors
    /// As [`AuthFiles::find`], and [`Error::Io`] if the file cannot be written.
    pub fn store(&self, key: &str, credentials: &Credentials) -> Result<PathBuf, Error> {
        let path = self.to_write()?;
        change(&path, |document| {
            if let Some(helper) = helper_for(document, host_of(key)) {
                self.helper(&helper, key)
                    .store(server_of(key), credentials)?;
                return Ok(());
            }
            let auths = object_at(document, "auths")
                .ok_or_else(|| invalid(&path, "'auths' is no object"))?;
            for name in names_of(key) {
                auths.remove(&name);
            }
            auths.insert(key.to_owned(), entry_of(credentials));
            Ok(())
        })?;
        Ok(path)
    }

    /// Removes the credentials for `HOST[/PATH]` from the file that [`AuthFiles::store`] writes, and with its
    /// helper if it names one. Returns whether there were any.
    ///
    /// # Errors
    /// As [`AuthFiles::store`].
    pub fn remove(&self, key: &str) -> Result<bool, Error> {
        let path = self.to_write()?;
        let Some(document) = load(&path)? else {
            return Ok(false);
        };
        if let Some(helper) = helper_for(&document, host_of(key)) {
            return self.helper(&helper, key).erase(server_of(key));
        }
        let has = |name: &String| {
            document
                .get("auths")
                .is_some_and(|auths| auths.get(name).is_some())
        };
        if !names_of(key).iter().any(has) {
            return Ok(false);
        }
        change(&path, |document| {
            if let Some(auths) = object_at(document, "auths") {
                for name in names_of(key) {
                    auths.remove(&name);
                }
            }
            Ok(())
        })?;
        Ok(true)
    }

    /// The files to read, in their order.
    fn to_read(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.places.auth_file {
            return vec![path.clone()];
        }
        let below = |base: &Option<PathBuf>, name: &str| base.as_ref().map(|base| base.join(name));
        let files = [
            below(&self.places.runtime, "containers/auth.json"),
            below(&self.places.config, "containers/auth.json"),
            below(&self.places.docker, "config.json"),
        ];
        files.into_iter().flatten().collect()
    }

    /// The file to write: the one for this session, so that a login ends with it, or the user's.
    fn to_write(&self) -> Result<PathBuf, Error> {
        self.to_read().into_iter().next().ok_or_else(|| {
            invalid(
                Path::new("containers/auth.json"),
                "there is no place for it: set HOME, XDG_RUNTIME_DIR or REGISTRY_AUTH_FILE",
            )
        })
    }

    /// The credentials in one file: a helper for the host, then what is stored, then the helper for all hosts.
    fn find_in(&self, document: &Value, repository: &str) -> Result<Option<Credentials>, Problem> {
        let host = host_of(repository);
        if let Some(name) = helper_of_host(document, host)
            && let Some(found) = self.helper(&name, host).get(server_of(host))?
        {
            return Ok(Some(found));
        }
        for key in keys_of(repository) {
            let entry = document.get("auths").and_then(|auths| auths.get(&key));
            if let Some(found) = entry.map(credentials_of).transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        match document.get("credsStore").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => Ok(self.helper(name, host).get(server_of(host))?),
            _ => Ok(None),
        }
    }

    /// The helper of this name.
    fn helper(&self, name: &str, host: &str) -> Helper {
        Helper::new(
            name,
            host_of(host),
            self.places.helpers.as_deref(),
            &self.interrupt,
        )
    }
}

/// Why credentials in a document are not usable.
enum Problem {
    Document(&'static str),
    Error(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The host of `HOST[/PATH]`.
fn host_of(repository: &str) -> &str {
    repository.split('/').next().unwrap_or(repository)
}

/// How helpers know a host.
fn server_of(repository: &str) -> &str {
    match host_of(repository) {
        DOCKER_HUB => DOCKER_HUB_KEY,
        host => host,
    }
}

/// All keys that have the same meaning as one: Docker writes hosts with a scheme and a path, too.
fn names_of(key: &str) -> Vec<String> {
    let mut names = vec![key.to_owned()];
    if !key.contains('/') {
        names.extend(["https://", "http://"].map(|scheme| format!("{scheme}{key}")));
        names.extend(["v1", "v2"].map(|version| format!("https://{key}/{version}/")));
    }
    if key == DOCKER_HUB {
        names
            .extend([DOCKER_HUB_KEY, "index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    names
}

/// The keys for a repository, the most specific first: `host/a/b`, `host/a`, `host`.
fn keys_of(repository: &str) -> Vec<String> {
    let above = repository
        .rmatch_indices('/')
        .map(|(position, _)| &repository[..position]);
    let all = [repository].into_iter().chain(above);
    all.flat_map(names_of).collect()
}

/// The helper for one host.
fn helper_of_host(document: &Value, host: &str) -> Option<String> {
    let helpers = document.get("credHelpers")?;
    let name = names_of(host)
        .iter()
        .find_map(|key| helpers.get(key)?.as_str())?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The helper that a login for a host goes to.
fn helper_for(document: &Value, host: &str) -> Option<String> {
    let for_all = || {
        document
            .get("credsStore")?
            .as_str()
            .filter(|name| !name.is_empty())
    };
    helper_of_host(document, host).or_else(|| for_all().map(str::to_owned))
}

/// What an entry of `auths` holds. Docker leaves empty ones behind where a helper has the credentials.
fn credentials_of(entry: &Value) -> Result<Option<Credentials>, Problem> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    if !text("identitytoken").is_empty() {
        return Ok(Some(Credentials::Identity(Secret::new(text(
            "identitytoken",
        )))));
    }
    if text("auth").is_empty() {
        let user = text("username");
        return Ok((!user.is_empty()).then(|| Credentials::password(user, text("password"))));
    }
    let damaged = || Problem::Document("an 'auth' is not the base64 of USER:PASSWORD");
    let pair = BASE64_STANDARD
        .decode(text("auth"))
        .map_err(|_| damaged())?;
    let pair = String::from_utf8(pair).map_err(|_| damaged())?;
    let (user, password) = pair.split_once(':').ok_or_else(damaged)?;
    // Docker once padded passwords with zeros.
    Ok(Some(from_pair(user, password.trim_end_matches('\0'))))
}

/// An entry of `auths`.
fn entry_of(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Password { user, password } => {
            let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
            json!({ "auth": pair })
        }
        Credentials::Identity(token) => json!({ "identitytoken": token.reveal() }),
    }
}

/// The object under a key, made if there is none. Nothing if something else is there.
fn object_at<'a>(document: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    document
        .as_object_mut()?
        .entry(key)
        .or_insert_with(|| json!({}))
        .as_object_mut()
}

/// Reads a file. An empty one is as none.
fn load(path: &Path) -> Result<Option<Value>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    // The error of serde_json has the position and no text of the document. It refuses a depth of more than 128.
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|error| invalid(path, error.to_string()))?;
    match document.is_object() {
        true => Ok(Some(document)),
        false => Err(invalid(path, "it is no JSON object")),
    }
}

/// Changes a file: a new one with mode 0600 takes its place, and what the file links to is followed. The lock on
/// the directory keeps two logins from losing one.
fn change(path: &Path, apply: impl FnOnce(&mut Value) -> Result<(), Error>) -> Result<(), Error> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let failed = |source| Error::Io {
        action: "write",
        path: target.clone(),
        source,
    };
    let dir = target
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::open(dir).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let before = load(&target)?;
    let mut document = before.clone().unwrap_or_else(|| json!({}));
    apply(&mut document)?;
    if before.as_ref() == Some(&document) {
        return Ok(());
    }
    replace(&target, &document).map_err(failed)?;
    lock.sync_all().map_err(failed)
}

/// Writes a document beside a file and renames it over it.
fn replace(target: &Path, document: &Value) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!(".{name}.{:016x}", fastrand::u64(..)));
    let written = write_new(&beside, document).and_then(|()| fs::rename(&beside, target));
    if written.is_err() {
        // The first error is the one to report; without the file there is nothing to remove.
        fs::remove_file(&beside).ok();
    }
    written
}

/// Writes a new file that only its owner can read.
fn write_new(path: &Path, document: &Value) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(format!("{document:#}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
#[path = "auth_file_tests.rs"]
mod tests;

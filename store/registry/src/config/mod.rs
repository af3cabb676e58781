//! Where users keep settings of registries.
//!
//! | file | what |
//! |---|---|
//! | `containers/registries.conf`, `registries.conf.d` | endpoints, mirrors, what is blocked, short names |
//! | `containers/policy.json` | which images are accepted |
//! | `containers/certs.d`, `docker/certs.d` | certificates |
//! | `auth.json`, `config.json` | credentials |
//!
//! Formats and search order are those of containers-registries.conf(5), containers-policy.json(5),
//! containers-certs.d(5) and containers-auth.json(5), and of Docker's config.json.

mod auth_file;
mod certs;
mod helper;
mod pair;
mod places;
mod policy;
mod proxies;
mod registries;
mod short_names;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::Error;

pub use auth_file::AuthFiles;
pub(crate) use certs::{HostCerts, host_certs};
pub use places::{Places, Roots};
pub use policy::Policy;
pub use proxies::Proxies;
pub use registries::{Endpoint, Registries};
pub use short_names::ShortNameMode;

/// The largest file of settings that is read.
const LARGEST: u64 = 4 << 20;

/// Reads a file of settings, or nothing if there is none.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Config`] if it is larger than 4 MiB.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source| Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(invalid(path, format!("it is larger than {LARGEST} bytes"))),
        false => Ok(Some(bytes)),
    }
}

/// Reads a file as [`read`] does, as text.
fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| invalid(path, "it is not UTF-8"))?;
    Ok(Some(text))
}

/// The error for a file that cannot be used.
fn invalid(path: &Path, why: impl Into<String>) -> Error {
    Error::Config {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// The files of a directory with an extension, sorted by name. None if there is no directory.
fn files_in(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Io {
        action: "read",
        path: dir.to_owned(),
        source,
    };
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

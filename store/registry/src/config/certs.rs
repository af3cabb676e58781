//! certs.d: certificates for one registry. See containers-certs.d(5).

use std::path::{Path, PathBuf};

use crate::Error;

use super::{Places, files_in, invalid, read};

/// The certificates for one host, in PEM.
#[derive(Debug, Default)]
pub(crate) struct HostCerts {
    /// Authorities that are trusted beside the system's.
    pub(crate) authorities: Vec<(PathBuf, Vec<u8>)>,
    /// The client's own certificate and its key.
    pub(crate) client: Option<ClientCert>,
}

/// A certificate with which the client identifies itself.
#[derive(Debug)]
pub(crate) struct ClientCert {
    pub(crate) path: PathBuf,
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Reads `HOST[:PORT]/*.crt`, `*.cert` and `*.key` of the first directory that there is.
///
/// # Errors
/// [`Error::Config`] for a certificate without its key, [`Error::Io`] if a file cannot be read.
pub(crate) fn host_certs(places: &Places, host: &str) -> Result<HostCerts, Error> {
    let mut bases = places.of_containers("certs.d");
    bases.push(places.etc.join("docker/certs.d"));
    let dirs = bases.iter().map(|base| base.join(host));
    match dirs.into_iter().find(|dir| dir.is_dir()) {
        Some(dir) => read_dir(&dir),
        None => Ok(HostCerts::default()),
    }
}

/// Reads the certificates in a directory.
fn read_dir(dir: &Path) -> Result<HostCerts, Error> {
    let mut certs = HostCerts::default();
    for path in files_in(dir, "crt")? {
        let pem = read(&path)?.unwrap_or_default();
        certs.authorities.push((path, pem));
    }
    // One connection can show one certificate. The last by name wins, as one added later.
    for path in files_in(dir, "cert")? {
        let cert = read(&path)?.unwrap_or_default();
        let key = read(&path.with_extension("key"))?
            .ok_or_else(|| invalid(&path, "the file with its key, named *.key, is missing"))?;
        certs.client = Some(ClientCert { path, cert, key });
    }
    for key in files_in(dir, "key")? {
        if !key.with_extension("cert").exists() {
            return Err(invalid(
                &key,
                "the file with its certificate, named *.cert, is missing",
            ));
        }
    }
    Ok(certs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_with_the_host_is_read() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::below(root.path());
        let docker = root.path().join("etc/docker/certs.d/a.io:5000");
        std::fs::create_dir_all(&docker).unwrap();
        std::fs::write(docker.join("ca.crt"), "CA").unwrap();
        assert_eq!(
            host_certs(&places, "a.io:5000").unwrap().authorities.len(),
            1
        );
        assert!(host_certs(&places, "a.io").unwrap().authorities.is_empty());

        let user = root.path().join("config/containers/certs.d/a.io:5000");
        std::fs::create_dir_all(&user).unwrap();
        assert!(
            host_certs(&places, "a.io:5000")
                .unwrap()
                .authorities
                .is_empty()
        );
        std::fs::write(user.join("me.cert"), "CERT").unwrap();
        let error = host_certs(&places, "a.io:5000").unwrap_err().to_string();
        assert!(
            error.contains("me.cert") && error.contains("*.key"),
            "{error}"
        );
        std::fs::write(user.join("me.key"), "KEY").unwrap();
        let client = host_certs(&places, "a.io:5000").unwrap().client.unwrap();
        assert_eq!(
            (client.cert, client.key),
            (b"CERT".to_vec(), b"KEY".to_vec())
        );
    }
}

//! Which certificates are accepted from a host, and which one is shown to it.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

use crate::Error;
use crate::config::{HostCerts, Places, Roots, host_certs};

/// The authorities that are trusted for every host.
pub(super) fn roots(places: &Places) -> Result<Vec<Certificate<'static>>, Error> {
    let Roots::File(path) = &places.roots else {
        // Those that cannot be read are as none: without any, the error is one of the certificate.
        let found = rustls_native_certs::load_native_certs().certs;
        return Ok(found
            .iter()
            .map(|cert| Certificate::from_der(cert).to_owned())
            .collect());
    };
    let pem = std::fs::read(path).map_err(|source| Error::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    authorities(&[(path.clone(), pem)])
}

/// How to speak TLS with a host.
pub(super) fn config(
    places: &Places,
    roots: &[Certificate<'static>],
    host: &str,
    insecure: bool,
) -> Result<TlsConfig, Error> {
    let certs = host_certs(places, host)?;
    let mut trusted = roots.to_vec();
    trusted.extend(authorities(&certs.authorities)?);
    let builder = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&trusted))
        .client_cert(client_cert(&certs)?)
        .disable_verification(insecure);
    Ok(builder.build())
}

/// The certificates in files.
fn authorities(
    files: &[(std::path::PathBuf, Vec<u8>)],
) -> Result<Vec<Certificate<'static>>, Error> {
    let mut found = Vec::new();
    for (path, pem) in files {
        let before = found.len();
        for item in parse_pem(pem) {
            if let Ok(PemItem::Certificate(cert)) = item {
                found.push(cert);
            }
        }
        if found.len() == before {
            return Err(Error::Config {
                path: path.clone(),
                why: "there is no certificate in PEM in it".into(),
            });
        }
    }
    Ok(found)
}

/// The client's certificate, if there is one for the host.
fn client_cert(certs: &HostCerts) -> Result<Option<ClientCert>, Error> {
    let Some(client) = &certs.client else {
        return Ok(None);
    };
    let invalid = |why: &str| Error::Config {
        path: client.path.clone(),
        why: why.into(),
    };
    let chain = authorities(&[(client.path.clone(), client.cert.clone())])?;
    let key = PrivateKey::from_pem(&client.key)
        .map_err(|_| invalid("there is no private key in PEM in its *.key"))?;
    // ureq ends the program over a key that does not fit, so it is checked before.
    let der = PrivateKeyDer::from_pem_slice(&client.key)
        .map_err(|_| invalid("its *.key is not understood"))?;
    let chain_der = chain
        .iter()
        .map(|cert| CertificateDer::from(cert.der().to_vec()))
        .collect();
    CertifiedKey::from_der(chain_der, der, &ring::default_provider())
        .map_err(|error| invalid(&format!("it does not fit its *.key: {error}")))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

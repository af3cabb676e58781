//! Manifests and indexes.

use serde::Deserialize;

use crate::auth::Scope;
use crate::error::{Cause, Error, Failure};
use crate::name::Target;
use crate::net::{Body, Method, Response};
use crate::{Digest, Repository};

/// The largest manifest, which is also the least that registries have to accept.
pub const LARGEST_MANIFEST: u64 = 4 << 20;

/// The media types of manifests and indexes.
pub const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// The media types of Docker's schema 1 begin so.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// A manifest or index with its digest verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The document as it came.
    pub bytes: Vec<u8>,
    /// What it is: one of the types that were asked for.
    pub media_type: String,
    /// The digest that was asked for, or the SHA-256 one.
    pub digest: Digest,
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its digest, if the registry tells it.
    pub digest: Option<Digest>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its size.
    pub size: Option<u64>,
}

/// The members by which documents say what they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<u64>,
    media_type: Option<String>,
}

impl Repository {
    /// Fetches a manifest or index by its tag or digest, as one of the media types.
    ///
    /// # Errors
    /// [`Error::InvalidName`] if the reference is neither; [`Error::Request`], with [`Cause::NotFound`] if there is
    /// none and [`Cause::Schema1`] if it is of Docker's schema 1; [`Error::Interrupted`] if the callback says so.
    pub fn manifest(&self, reference: &str, accept: &[&str]) -> Result<Manifest, Error> {
        let target = Target::parse(reference)?;
        let scope = self.pull_scope();
        let attempts = self.attempts(format!("fetch manifest {reference} from"));
        attempts.run(|| self.try_manifest(&scope, &target, accept))
    }

    /// Asks whether a manifest is there, and for its digest.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn head_manifest(&self, reference: &str, accept: &[&str]) -> Result<ManifestHead, Error> {
        let target = Target::parse(reference)?;
        let scope = self.pull_scope();
        let attempts = self.attempts(format!("look for manifest {reference} in"));
        attempts.run(|| {
            let response = self.ask(Method::Head, &scope, &target, accept)?;
            Ok(ManifestHead {
                digest: digest_of(&response),
                media_type: media_type_of(&response),
                size: response.content_length(),
            })
        })
    }

    /// Uploads a manifest or index under a tag or its digest, and returns its SHA-256 digest.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Error> {
        let target = Target::parse(reference)?;
        let scope = self.push_scope();
        let digest = Digest::sha256(bytes);
        let attempts = self.attempts(format!("upload manifest {reference} to"));
        attempts.run(|| {
            let mut request = self
                .request(Method::Put, &format!("manifests/{}", target.as_str()))?
                .header("content-type", media_type);
            request.patience = Some(self.client.retry().commit);
            let response = self.send(&scope, request, &mut Body::Bytes(bytes))?;
            if !matches!(response.status, 200..=202) {
                return Err(response.into_failure());
            }
            check_digest(&response, &digest)?;
            Ok(digest.clone())
        })
    }

    /// Asks for a manifest.
    fn ask(
        &self,
        method: Method,
        scope: &Scope,
        target: &Target,
        accept: &[&str],
    ) -> Result<Response, Failure> {
        let request = self
            .request(method, &format!("manifests/{}", target.as_str()))?
            .header("accept", accept.join(", "));
        let response = self.send(scope, request, &mut Body::None)?;
        match response.status {
            200 => Ok(response),
            _ => Err(response.into_failure()),
        }
    }

    /// Fetches a manifest once.
    fn try_manifest(
        &self,
        scope: &Scope,
        target: &Target,
        accept: &[&str],
    ) -> Result<Manifest, Failure> {
        let response = self.ask(Method::Get, scope, target, accept)?;
        response.check_encoding()?;
        let announced = digest_of(&response);
        let content_type = media_type_of(&response);
        let length = response.content_length();
        let bytes = response.read_all(self.client.net(), LARGEST_MANIFEST)?;
        if length.is_some_and(|length| length != bytes.len() as u64) {
            return Err(
                Cause::Protocol("the manifest is not as long as the server says".into()).into(),
            );
        }
        let digest = match target {
            Target::Digest(digest) => digest.clone(),
            Target::Tag(_) => Digest::sha256(&bytes),
        };
        for expected in [Some(&digest), announced.as_ref()].into_iter().flatten() {
            verify(expected, &bytes)?;
        }
        let media_type = decide_type(content_type.as_deref(), &bytes, accept)?;
        Ok(Manifest {
            bytes,
            media_type,
            digest,
        })
    }
}

/// Fails if bytes have another digest.
fn verify(expected: &Digest, bytes: &[u8]) -> Result<(), Failure> {
    match expected.matches(bytes) {
        true => Ok(()),
        false => Err(Cause::WrongDigest {
            expected: expected.to_string(),
            found: Digest::sha256(bytes).to_string(),
        }
        .into()),
    }
}

/// Fails if the registry names another digest of the same kind.
fn check_digest(response: &Response, digest: &Digest) -> Result<(), Failure> {
    match digest_of(response) {
        Some(found) if found.as_str().starts_with("sha256:") && found != *digest => {
            Err(Cause::WrongDigest {
                expected: digest.to_string(),
                found: found.to_string(),
            }
            .into())
        }
        _ => Ok(()),
    }
}

/// The digest that the registry names. One of an algorithm that is not known is as none.
fn digest_of(response: &Response) -> Option<Digest> {
    response.header("docker-content-digest")?.parse().ok()
}

/// The media type without parameters.
fn media_type_of(response: &Response) -> Option<String> {
    let value = response.header("content-type")?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// What a document is, by the answer's media type and its own. Some registries answer with a type for any JSON; then
/// the document decides. If both are types of manifests they have to agree.
fn decide_type(
    content_type: Option<&str>,
    bytes: &[u8],
    accept: &[&str],
) -> Result<String, Failure> {
    // serde_json refuses a depth of more than 128 in what it reads and skips the rest without recursion.
    let probe: Probe = serde_json::from_slice(bytes)
        .map_err(|_| Cause::Document("it is not the JSON of a manifest".into()))?;
    let header = content_type.filter(|kind| kind.starts_with(SCHEMA_1) || accept.contains(kind));
    let own = probe.media_type.as_deref();
    let is_schema_1 = [header, own]
        .into_iter()
        .flatten()
        .any(|kind| kind.starts_with(SCHEMA_1));
    if is_schema_1 || probe.schema_version == Some(1) {
        return Err(Cause::Schema1.into());
    }
    match (header, own) {
        (Some(header), Some(own)) if header != own => Err(Cause::Document(format!(
            "the server calls it {header}, and it calls itself {own}"
        ))
        .into()),
        (Some(kind), _) => Ok(kind.to_owned()),
        (None, Some(own)) if accept.contains(&own) => Ok(own.to_owned()),
        (None, own) => {
            let kind = own.or(content_type).unwrap_or("of no media type");
            Err(Cause::Document(format!("it is {kind}, which is no image")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = MANIFEST_TYPES[0];
    const INDEX: &str = MANIFEST_TYPES[1];

    fn decide(content_type: Option<&str>, document: &str) -> Result<String, Cause> {
        decide_type(content_type, document.as_bytes(), &MANIFEST_TYPES)
            .map_err(|failure| failure.cause)
    }

    #[test]
    fn the_header_and_the_document_say_what_it_is() {
        let plain = r#"{"schemaVersion":2}"#;
        let named = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","x":{{"a":[1]}}}}"#);
        assert_eq!(decide(Some(OCI), plain).unwrap(), OCI);
        assert_eq!(decide(Some(OCI), &named).unwrap(), OCI);
        assert_eq!(decide(Some("application/json"), &named).unwrap(), OCI);
        assert_eq!(decide(None, &named).unwrap(), OCI);
        assert!(matches!(
            decide(Some(INDEX), &named),
            Err(Cause::Document(_))
        ));
        assert!(matches!(
            decide(Some("text/html"), plain),
            Err(Cause::Document(_))
        ));
        assert!(matches!(
            decide(Some(OCI), "<html>"),
            Err(Cause::Document(_))
        ));
    }

    #[test]
    fn schema_1_is_refused_with_its_reason() {
        let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert!(matches!(decide(Some(signed), "{}"), Err(Cause::Schema1)));
        let old = r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#;
        assert!(matches!(
            decide(Some("application/json"), old),
            Err(Cause::Schema1)
        ));
    }

    #[test]
    fn deep_documents_are_no_danger() {
        let deep = format!("{{\"mediaType\":{}", "[".repeat(2_000_000));
        assert!(decide(Some(OCI), &deep).is_err());
        let deep = format!("{{\"other\":{}", "[".repeat(2_000_000));
        assert!(decide(Some(OCI), &deep).is_err());
    }
}

//! policy.json: which images are accepted. See containers-policy.json(5).
//!
//! Only `insecureAcceptAnything` and `reject` can be decided here. Every other requirement asks for signatures,
//! which this client cannot verify, so that it refuses the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;
use crate::name::Name;

use super::{Places, invalid, read};

/// One requirement. An image has to meet all of a list.
#[derive(Clone, Debug, Deserialize)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
}

/// The whole document.
#[derive(Clone, Debug, Deserialize)]
struct Document {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// The policy that is in force.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Where it was read from, unless there is none: then everything is accepted.
    document: Option<(PathBuf, Document)>,
}

impl Policy {
    /// Reads the user's policy, or the system's if the user has none.
    ///
    /// # Errors
    /// [`Error::Config`] if it is no policy, [`Error::Io`] if it cannot be read.
    pub fn load(places: &Places) -> Result<Self, Error> {
        for path in places.of_containers("policy.json") {
            let Some(bytes) = read(&path)? else {
                continue;
            };
            // serde_json refuses documents nested deeper than 128.
            let document = serde_json::from_slice(&bytes)
                .map_err(|error| invalid(&path, error.to_string()))?;
            return Ok(Self {
                document: Some((path, document)),
            });
        }
        Ok(Self::default())
    }

    /// Whether an image may be used. `reference` is its tag or digest, if it has one.
    ///
    /// # Errors
    /// [`Error::Rejected`] if the policy rejects it, [`Error::NeedsSignature`] if it asks for signatures.
    pub fn check(&self, name: &Name, reference: Option<&str>) -> Result<(), Error> {
        let Some((path, document)) = &self.document else {
            return Ok(());
        };
        let requirements = document.requirements_of(name, reference);
        if requirements.is_empty() {
            return Err(invalid(path, "a list of requirements is empty"));
        }
        for requirement in requirements {
            requirement.check(name, path)?;
        }
        Ok(())
    }
}

impl Requirement {
    /// Whether an image meets it.
    fn check(&self, name: &Name, path: &Path) -> Result<(), Error> {
        match self.kind.as_str() {
            "insecureAcceptAnything" => Ok(()),
            "reject" => Err(Error::Rejected {
                name: name.to_string(),
                path: path.to_owned(),
            }),
            kind => Err(Error::NeedsSignature {
                name: name.to_string(),
                kind: kind.to_owned(),
                path: path.to_owned(),
            }),
        }
    }
}

impl Document {
    /// The requirements of the most specific scope.
    fn requirements_of(&self, name: &Name, reference: Option<&str>) -> &[Requirement] {
        let Some(scopes) = self.transports.get("docker") else {
            return &self.default;
        };
        let found = scopes_of(name, reference)
            .into_iter()
            .find_map(|scope| scopes.get(&scope));
        found.unwrap_or(&self.default)
    }
}

/// The scopes of an image from the most to the least specific: with its tag or digest, the repository, the
/// namespaces above it, the host, the domains above it with a wildcard, and all images of registries.
fn scopes_of(name: &Name, reference: Option<&str>) -> Vec<String> {
    let full = name.to_string();
    let mut scopes = Vec::new();
    if let Some(reference) = reference {
        let separator = if reference.contains(':') { '@' } else { ':' };
        scopes.push(format!("{full}{separator}{reference}"));
    }
    let slashes = full
        .rmatch_indices('/')
        .map(|(position, _)| full[..position].to_owned());
    scopes.extend([full.clone()].into_iter().chain(slashes));
    let dots = name.host().match_indices('.');
    scopes.extend(dots.map(|(position, _)| format!("*{}", &name.host()[position..])));
    scopes.push(String::new());
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in containers-policy.json(5).
    const POLICY: &str = r#"{
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "docker.io/openshift": [{"type": "insecureAcceptAnything"}],
                "docker.io/openshift/bad": [{"type": "reject"}],
                "docker.io/openshift/bad:v1": [{"type": "insecureAcceptAnything"}],
                "*.temporary-project.example.com": [{"type": "insecureAcceptAnything"}],
                "registry.access.redhat.com": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/x"}],
                "empty.example.com": []
            },
            "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}
        }
    }"#;

    fn check(policy: &str, name: &str, reference: Option<&str>) -> Result<(), Error> {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("etc/containers");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("policy.json"), policy).unwrap();
        let policy = Policy::load(&Places::below(root.path()))?;
        policy.check(&Name::parse(name).unwrap(), reference)
    }

    #[test]
    fn the_most_specific_scope_decides() {
        assert!(check(POLICY, "docker.io/openshift/good", None).is_ok());
        assert!(check(POLICY, "docker.io/openshift/bad", Some("v1")).is_ok());
        assert!(check(POLICY, "a.b.temporary-project.example.com/x", None).is_ok());
        for rejected in [
            "docker.io/openshift/bad",
            "docker.io/library/debian",
            "quay.io/x",
        ] {
            let error = check(POLICY, rejected, Some("v2")).unwrap_err();
            assert!(matches!(error, Error::Rejected { .. }), "{error}");
        }
    }

    #[test]
    fn signatures_are_refused_with_their_reason() {
        let error = check(POLICY, "registry.access.redhat.com/ubi9", None).unwrap_err();
        assert!(matches!(error, Error::NeedsSignature { .. }), "{error}");
        assert!(error.to_string().contains("signedBy"), "{error}");
    }

    #[test]
    fn wrong_policies_are_refused() {
        assert!(check(POLICY, "empty.example.com/x", None).is_err());
        assert!(check("{}", "a.io/x", None).is_err());
        assert!(check(&"[".repeat(9000), "a.io/x", None).is_err());
    }

    #[test]
    fn no_policy_accepts_everything() {
        let name = Name::parse("docker.io/library/debian").unwrap();
        assert!(Policy::default().check(&name, None).is_ok());
    }
}

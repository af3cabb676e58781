//! The grammar of image references, as registries and Docker define it.
//!
//! From github.com/distribution/reference, `reference.go`:
//!
//! ```text
//! reference       ::= name [":" tag] ["@" digest]
//! name            ::= [domain "/"] path-component ("/" path-component)*
//! domain          ::= host [":" port-number]
//! host            ::= domain-name | "[" IPv6 address "]"
//! domain-name     ::= domain-component ("." domain-component)*
//! domain-component::= [a-zA-Z0-9] | [a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]
//! path-component  ::= [a-z0-9]+ (separator [a-z0-9]+)*
//! separator       ::= [_.] | "__" | "-"+
//! tag             ::= [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
//! ```

use std::fmt;

use super::digest::Digest;

/// The longest name with its domain, in bytes.
const NAME_BYTES: usize = 255;

/// The longest tag, in bytes.
const TAG_BYTES: usize = 128;

/// The tag that a reference without one means.
pub(crate) const LATEST: &str = "latest";

/// The domain of Docker's own registry, and an older name of it.
const DOCKER: &str = "docker.io";
const DOCKER_INDEX: &str = "index.docker.io";

/// Where Docker's own images lie in its registry.
const LIBRARY: &str = "library";

/// A reference taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Domain and path; the domain only if the text has one.
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Digest>,
}

/// What a reference does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Empty,
    TooLong,
    Domain,
    Path,
    Id,
    Tag,
    Digest,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 255 bytes",
            Self::Domain => {
                "before the first slash must stand a host, with a port if need be, as in localhost:5000/app"
            }
            Self::Path => {
                "a repository is made of lower-case letters and digits, joined by one of . _ __ / or by dashes"
            }
            Self::Id => "64 hexadecimal digits alone are an image ID",
            Self::Tag => {
                "a tag is a letter, digit or _, followed by at most 127 letters, digits and _.-"
            }
            Self::Digest => "after the @ must stand sha256: and 64 lower-case hexadecimal digits",
        })
    }
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| Fault::Digest)?)),
            None => (text, None),
        };
        // A colon before the last slash is that of a port.
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let colon = rest.get(path..).and_then(|last| last.find(':'));
        let (name, tag) = match colon.and_then(|colon| rest.split_at_checked(path + colon)) {
            Some((name, tag)) => (name, Some(tag.get(1..).unwrap_or_default())),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(Fault::Tag);
        }
        Ok(Self {
            repository: repository(name)?,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Repository and tag, where none is given that which is meant.
    pub(crate) fn tagged(&self) -> String {
        let tag = self.tag.as_deref().unwrap_or(LATEST);
        format!("{}:{tag}", self.repository)
    }

    /// The repository with the domain that Docker fills in.
    pub(crate) fn full_repository(&self) -> String {
        let repository = &self.repository;
        match split_domain(repository) {
            (Some(_), _) => repository.clone(),
            (None, path) if path.contains('/') => format!("{DOCKER}/{path}"),
            (None, path) => format!("{DOCKER}/{LIBRARY}/{path}"),
        }
    }

    /// The repository without what Docker fills in.
    pub(crate) fn short_repository(&self) -> &str {
        match self.repository.split_once('/') {
            Some((DOCKER, path)) => match path.split_once('/') {
                Some((LIBRARY, image)) if !image.contains('/') => image,
                _ => path,
            },
            _ => &self.repository,
        }
    }

    /// Whether the repository says in which registry it is.
    pub(crate) fn has_domain(&self) -> bool {
        split_domain(&self.repository).0.is_some()
    }

    /// Whether both are names of one image for Docker.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.full_repository() == other.full_repository()
            && self.tag.as_deref().unwrap_or(LATEST) == other.tag.as_deref().unwrap_or(LATEST)
    }
}

/// Checks a name, and brings the domain of Docker's registry into one form.
fn repository(name: &str) -> Result<String, Fault> {
    if name.is_empty() {
        return Err(Fault::Empty);
    }
    let (domain, path) = split_domain(name);
    if domain.is_some_and(|domain| !is_domain(domain)) {
        return Err(Fault::Domain);
    }
    if !path.split('/').all(is_component) {
        return Err(Fault::Path);
    }
    if domain.is_none() && path.len() == 64 && path.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Fault::Id);
    }
    let name = match domain {
        Some(DOCKER | DOCKER_INDEX) if !path.contains('/') => format!("{DOCKER}/{LIBRARY}/{path}"),
        Some(DOCKER_INDEX) => format!("{DOCKER}/{path}"),
        _ => name.to_owned(),
    };
    match name.len() {
        0..=NAME_BYTES => Ok(name),
        _ => Err(Fault::TooLong),
    }
}

/// Domain and path. What stands before the first slash is a domain if it cannot be part of a path,
/// or is `localhost`.
pub(super) fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, path))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (Some(first), path)
        }
        _ => (None, name),
    }
}

fn is_domain(domain: &str) -> bool {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a component of a path is words of lower-case letters and digits with separators between
/// them.
pub(crate) fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = component.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| is_word(**byte)).count();
        let after = rest.get(word..).unwrap_or_default();
        if word == 0 || after.is_empty() {
            return word != 0;
        }
        let dashes = after.iter().take_while(|byte| **byte == b'-').count();
        let separator = match after {
            [b'_', b'_', ..] => 2,
            [b'_' | b'.', ..] => 1,
            _ => dashes,
        };
        if separator == 0 {
            return false;
        }
        rest = after.get(separator..).unwrap_or_default();
    }
}

/// Whether this can be a tag.
pub(crate) fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_follow_the_grammar_of_registries() {
        for (text, repository, tag) in [
            ("debian", "debian", None),
            ("debian:12", "debian", Some("12")),
            ("my__app:1", "my__app", Some("1")),
            ("a---b:1", "a---b", Some("1")),
            ("a.b_c-d", "a.b_c-d", None),
            ("app:_x", "app", Some("_x")),
            ("app:1.0-", "app", Some("1.0-")),
            ("app:v1---RC", "app", Some("v1---RC")),
            ("localhost:5000/a/b:c", "localhost:5000/a/b", Some("c")),
            ("localhost:5000/a", "localhost:5000/a", None),
            ("Host/app", "Host/app", None),
            ("[::1]:5000/app", "[::1]:5000/app", None),
            ("docker.io/app", "docker.io/library/app", None),
            (
                "index.docker.io/user/app:1",
                "docker.io/user/app",
                Some("1"),
            ),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.repository, repository, "{text}");
            assert_eq!(reference.tag.as_deref(), tag, "{text}");
            assert_eq!(reference.digest, None, "{text}");
        }
        let reference = Reference::parse(&format!("a:1@{DIGEST}")).unwrap();
        assert_eq!(reference.tagged(), "a:1");
        assert_eq!(reference.digest, Some(Digest::of(b"")));
    }

    #[test]
    fn each_broken_reference_has_its_own_error() {
        let hex = &DIGEST["sha256:".len()..];
        for (text, fault) in [
            ("", Fault::Empty),
            (":1", Fault::Empty),
            ("/a", Fault::Path),
            ("a/", Fault::Path),
            ("a//b", Fault::Path),
            ("A", Fault::Path),
            ("a___b", Fault::Path),
            ("a..b", Fault::Path),
            ("a._b", Fault::Path),
            ("_a", Fault::Path),
            ("a-", Fault::Path),
            ("a b", Fault::Path),
            ("\u{fc}", Fault::Path),
            ("a\n", Fault::Path),
            ("../x", Fault::Domain),
            ("-h.x/a", Fault::Domain),
            ("h:x/a", Fault::Domain),
            ("[x]/a", Fault::Path),
            ("a:", Fault::Tag),
            ("a:-x", Fault::Tag),
            ("a:.x", Fault::Tag),
            ("a:b:c", Fault::Tag),
            (&format!("a:{}", "x".repeat(129)), Fault::Tag),
            ("a@sha256:00", Fault::Digest),
            ("a@", Fault::Digest),
            (hex, Fault::Id),
            (&"a".repeat(256), Fault::TooLong),
        ] {
            assert_eq!(Reference::parse(text), Err(fault), "{text:?}");
        }
        assert!(Reference::parse(&"a".repeat(255)).is_ok());
    }

    #[test]
    fn references_are_compared_in_their_long_form() {
        let reference = |text: &str| Reference::parse(text).unwrap();
        for (one, other, same) in [
            ("debian", "docker.io/library/debian:latest", true),
            ("user/app:1", "index.docker.io/user/app:1", true),
            ("quay.io/a/b", "quay.io/a/b:latest", true),
            ("localhost/a", "a", false),
            ("a:1", "a:2", false),
        ] {
            assert_eq!(
                reference(one).is_same(&reference(other)),
                same,
                "{one} {other}"
            );
        }
        for (full, short) in [
            ("docker.io/library/debian", "debian"),
            ("docker.io/user/app", "user/app"),
            ("docker.io/library/a/b", "library/a/b"),
            ("quay.io/library/debian", "quay.io/library/debian"),
        ] {
            assert_eq!(reference(full).short_repository(), short);
        }
    }
}

//! Names of repositories, tags and digests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::{Digest, Error};

/// The longest name of a repository, with its host, that registries accept.
const LONGEST_NAME: usize = 255;
/// The longest tag, as the OCI distribution specification has it.
const LONGEST_TAG: usize = 128;
/// The host that names Docker Hub in references.
pub(crate) const DOCKER_HUB: &str = "docker.io";
/// The host that serves Docker Hub's images.
const DOCKER_HUB_ADDRESS: &str = "registry-1.docker.io";

/// A repository: the host that a reference names, with a port if it names one, and the path.
///
/// For Docker Hub the host is `docker.io`, and the caller has put `library/` before names of one part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    host: String,
    path: String,
}

impl Name {
    /// Checks the host and the path by the grammar of the distribution specification.
    ///
    /// # Errors
    /// [`Error::InvalidName`] if one of them has another form.
    pub fn new(host: &str, path: &str) -> Result<Self, Error> {
        let invalid = |why| Error::InvalidName {
            name: format!("{host}/{path}"),
            why,
        };
        if !is_host(host) {
            return Err(invalid("its registry is no host name"));
        }
        if path.len() + host.len() >= LONGEST_NAME || !path.split('/').all(is_component) {
            return Err(invalid(
                "a repository has lower-case letters, digits, and single separators . _ - / between them",
            ));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            path: path.to_owned(),
        })
    }

    /// Splits `HOST/PATH`.
    ///
    /// # Errors
    /// As [`Name::new`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        Self::new(host, path)
    }

    /// The host of the reference, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below the host.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// Whether text is a host name, an IPv4 address or an IPv6 address in brackets, with an optional port.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = split_port(text);
    let port_is_valid = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-')
    };
    let host_is_valid = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() < LONGEST_NAME && host.split('.').all(is_label),
    };
    port_is_valid && host_is_valid
}

/// The parts of `HOST[:PORT]`.
pub(crate) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Whether a host is this machine by its name: `localhost`, 127.0.0.0/8 or `::1`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let (host, _) = split_port(host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.octets()[0] == Ipv4Addr::LOCALHOST.octets()[0],
        Ok(IpAddr::V6(address)) => address.is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

/// Where the registry of a host is reached.
pub(crate) fn address_of(host: &str) -> &str {
    match host {
        DOCKER_HUB | "index.docker.io" => DOCKER_HUB_ADDRESS,
        other => other,
    }
}

/// Whether a part of a path has the form `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(part: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let separators = part.split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
    let are_valid =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    is_alphanumeric(first) && is_alphanumeric(last) && separators.into_iter().all(are_valid)
}

/// A tag or a digest, checked: what stands at the end of a manifest's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Tag(String),
    Digest(Digest),
}

impl Target {
    /// Reads a tag, or a digest if there is a colon.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.contains(':') {
            return text.parse().map(Self::Digest);
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(is_word);
        let is_inner = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
        if !starts_well || text.len() > LONGEST_TAG || !text.bytes().all(is_inner) {
            return Err(Error::InvalidName {
                name: text.to_owned(),
                why: "it is no tag: letters, digits, _ . and -, at most 128",
            });
        }
        Ok(Self::Tag(text.to_owned()))
    }

    /// The text in the address.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag,
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in [
            "docker.io/library/debian",
            "localhost:5000/a",
            "[::1]:5000/a/b_c/d__e/f-g--h/i.j",
            "127.0.0.1:80/x1",
        ] {
            assert_eq!(Name::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "docker.io",
            "docker.io/",
            "docker.io/A",
            "docker.io/a/../b",
            "docker.io/a//b",
            "docker.io/a..b",
            "docker.io/a___b",
            "docker.io/-a",
            "a:0/b",
            "a:99999/b",
            "a b/c",
            "user@host/c",
            "[::z]/c",
            "docker.io/a?b",
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_and_digests_are_told_apart() {
        assert_eq!(
            Target::parse("v1.0-x").unwrap(),
            Target::Tag("v1.0-x".into())
        );
        for bad in ["", ".x", "-x", "a/b", "a b", &"x".repeat(129), "sha256:1"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_by_name_or_address() {
        for here in ["localhost", "localhost:5000", "127.8.9.1:1", "[::1]:5000"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in ["localhost.example.com", "128.0.0.1", "[::2]", "docker.io"] {
            assert!(!is_loopback(there), "{there}");
        }
    }
}

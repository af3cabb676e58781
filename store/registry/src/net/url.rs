//! Addresses of requests, and where a Location leads.

use std::fmt;

use ureq::http::Uri;

use crate::name::{is_host, split_port};

/// The longest address that is followed.
const LONGEST: usize = 8 << 10;

/// An address with http or https. `Display` leaves the query out, which may hold a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    https: bool,
    /// The host, with the port unless it is the scheme's own.
    host: String,
    /// The path with its query.
    target: String,
}

impl Url {
    /// The address of a path, which begins with a slash.
    pub(crate) fn new(https: bool, host: &str, target: &str) -> Self {
        let default = if https { "443" } else { "80" };
        let host = match split_port(host) {
            (bare, Some(port)) if port == default => bare,
            _ => host,
        };
        Self {
            https,
            host: host.to_ascii_lowercase(),
            target: target.to_owned(),
        }
    }

    /// Reads an absolute address. User names in it are refused, as what remains is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split('#').next()?;
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let target = match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("/{target}"),
        };
        let url = Self::new(https, host, &target);
        let is_valid = text.len() <= LONGEST && is_host(host) && url.to_uri().is_some();
        is_valid.then_some(url)
    }

    /// The address that a Location in an answer from this one means.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.chars().next()? {
            '/' => location.to_owned(),
            '?' => format!("{path}{location}"),
            _ => format!("{}{location}", &path[..=path.rfind('/')?]),
        };
        Self::parse(&format!("{}://{}{target}", self.scheme(), self.host))
    }

    /// This address with one more parameter in its query. The name and value need no escapes.
    pub(crate) fn with_parameter(&self, name: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        Self {
            target: format!("{}{separator}{name}={value}", self.target),
            ..self.clone()
        }
    }

    /// This address with https.
    pub(crate) fn upgraded(&self) -> Self {
        Self::new(true, &self.host, &self.target)
    }

    /// Whether both have the same scheme, host and port.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.host == other.host
    }

    /// Whether it is reached by TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The host with its port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The address in the form that requests take.
    pub(crate) fn to_uri(&self) -> Option<Uri> {
        format!("{}://{}{}", self.scheme(), self.host, self.target)
            .parse()
            .ok()
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme(), self.host)
    }
}

/// Escapes text for the value of a parameter in a query or form.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(byte.into())
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_relative_to_the_request() {
        let base = Url::parse("https://a.io/v2/x/blobs/uploads/?mount=1").unwrap();
        for (location, expected) in [
            ("/v2/y", "https://a.io/v2/y"),
            ("u1?_state=s", "https://a.io/v2/x/blobs/uploads/u1?_state=s"),
            ("?n=2", "https://a.io/v2/x/blobs/uploads/?n=2"),
            ("//b.io/z", "https://b.io/z"),
            ("http://c.io:80/z#part", "http://c.io/z"),
            ("https://C.io", "https://c.io/"),
            ("/cb?to=http://d.io/", "https://a.io/cb?to=http://d.io/"),
        ] {
            let joined = base.join(location).unwrap();
            assert_eq!(joined.to_uri().unwrap().to_string(), expected, "{location}");
        }
        for bad in [
            "",
            "ftp://a.io/",
            "https://u:p@a.io/",
            "https:///x",
            "https://a.io/a b",
            "https://a.io:x/",
        ] {
            assert!(base.join(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_origin_is_scheme_host_and_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(url("https://a.io/x").same_origin(&url("https://A.io:443/y")));
        for other in ["http://a.io/", "https://a.io:444/", "https://b.a.io/"] {
            assert!(!url("https://a.io/x").same_origin(&url(other)), "{other}");
        }
        assert_eq!(
            url("https://a.io/x?sig=secret").to_string(),
            "https://a.io/x"
        );
    }
}

//! WWW-Authenticate: how a registry wants users to identify (RFC 9110, 11.6.1).

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user name and password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The address of the token server.
        realm: String,
        /// The name of the registry there.
        service: Option<String>,
    },
}

/// One scheme with its parameters.
#[derive(Debug, Default)]
struct Parsed {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The challenge to meet among those of all headers: tokens before passwords. None if all are of other kinds or
    /// not understood.
    pub(crate) fn read(headers: &[String]) -> Option<Self> {
        let all: Vec<Parsed> = headers
            .iter()
            .filter_map(|header| parse(header))
            .flatten()
            .collect();
        let bearer = all.iter().find_map(Parsed::bearer);
        let has_basic = all
            .iter()
            .any(|parsed| parsed.scheme.eq_ignore_ascii_case("basic"));
        bearer.or_else(|| has_basic.then_some(Self::Basic))
    }
}

impl Parsed {
    /// The value of a parameter.
    fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn bearer(&self) -> Option<Challenge> {
        let is_bearer = self.scheme.eq_ignore_ascii_case("bearer");
        let realm = self.get("realm").filter(|_| is_bearer)?.to_owned();
        Some(Challenge::Bearer {
            realm,
            service: self.get("service").map(str::to_owned),
        })
    }
}

/// Reads a header, which may have several challenges with commas between them.
fn parse(header: &str) -> Option<Vec<Parsed>> {
    let mut found: Vec<Parsed> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (word, after) = token(rest)?;
        let spaces = after.trim_start_matches([' ', '\t']);
        if let Some(value) = spaces.strip_prefix('=') {
            let (value, after) = value_of(value.trim_start_matches([' ', '\t']))?;
            found.last_mut()?.parameters.push((word.to_owned(), value));
            rest = next(after)?;
        } else {
            found.push(Parsed {
                scheme: word.to_owned(),
                ..Parsed::default()
            });
            rest = spaces.trim_start_matches([' ', '\t', ',']);
        }
    }
    Some(found)
}

/// Skips to the next parameter or challenge, which a comma separates.
fn next(text: &str) -> Option<&str> {
    let text = text.trim_start_matches([' ', '\t']);
    let is_separated = text.is_empty() || text.starts_with(',');
    is_separated.then(|| text.trim_start_matches([' ', '\t', ',']))
}

/// A token and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_inner = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(char);
    let end = text.find(|char| !is_inner(char)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The value of a parameter, a token or a quoted string, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, after)| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((position, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[position + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&str]) -> Option<Challenge> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        Challenge::read(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="invalid_token""#;
        assert_eq!(
            read(&[hub]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        let quay = r#"Bearer realm="https://quay.io/v2/auth",service="quay.io""#;
        assert_eq!(
            read(&["Basic realm=\"x\"", quay]),
            bearer("https://quay.io/v2/auth", Some("quay.io"))
        );
        let both = r#"Basic realm="a, b", bearer Realm = "https://t/\"x" , service=s"#;
        assert_eq!(read(&[both]), bearer("https://t/\"x", Some("s")));
        assert_eq!(
            read(&["Basic realm=\"Amazon ECR\",service=\"ecr\""]),
            Some(Challenge::Basic)
        );
        assert_eq!(read(&["basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        for bad in [
            "",
            "Negotiate",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "realm=x",
            "Bearer realm=\"x\" y=z",
            "é",
            "Bearer realm=\"x\\",
        ] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(
            read(&["Bearer realm=\"x", "Basic realm=y"]),
            Some(Challenge::Basic)
        );
    }
}

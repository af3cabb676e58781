//! Tokens from token servers, as Docker's and the distribution project's documents on token authentication say.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Cause, Failure};
use crate::net::{Body, Method, Net, Request, Response, Url, escape};
use crate::{Credentials, Secret};

/// The largest answer of a token server.
const LARGEST: u64 = 1 << 20;
/// How long a token is good for if the server does not say.
const DEFAULT_LIFE: u64 = 60;
/// How long one is used at most.
const LONGEST_LIFE: u64 = 24 * 3600;

/// A token, as the value of an Authorization header.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) header: Secret,
    /// When a new one is fetched. None if it does not expire.
    pub(super) renew_at: Option<Instant>,
}

/// What a token server answers.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

/// A request for a token.
pub(super) struct TokenRequest<'a> {
    pub(super) net: &'a Net,
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a [String],
    pub(super) credentials: Option<&'a Credentials>,
    /// Whether the registry is reached by TLS: then its token server is, too.
    pub(super) is_https: bool,
    pub(super) insecure: bool,
}

impl TokenRequest<'_> {
    /// Fetches a token.
    pub(super) fn send(&self) -> Result<Token, Failure> {
        let realm = Url::parse(self.realm).ok_or_else(|| {
            Cause::Protocol("the address of the token server is not valid".into())
        })?;
        if self.is_https && !realm.is_https() {
            return Err(Cause::Protocol(format!(
                "the token server {realm} is not reached by https"
            ))
            .into());
        }
        let response = match self.credentials {
            Some(Credentials::Identity(token)) => self.exchange(realm, token)?,
            other => self.ask(realm, other)?,
        };
        if response.status != 200 {
            return Err(response.into_failure());
        }
        let bytes = response.read_all(self.net, LARGEST)?;
        read_answer(&bytes)
    }

    /// Asks with a password, or with nothing.
    fn ask(&self, mut url: Url, credentials: Option<&Credentials>) -> Result<Response, Failure> {
        if let Some(service) = self.service {
            url = url.with_parameter("service", &escape(service));
        }
        for scope in self.scopes {
            url = url.with_parameter("scope", &escape(scope));
        }
        if let Some(Credentials::Password { user, .. }) = credentials {
            url = url.with_parameter("account", &escape(user));
        }
        let mut request = Request::new(Method::Get, url, self.insecure);
        request.authorization = credentials.and_then(Credentials::basic);
        self.net.send(&request, &mut Body::None)
    }

    /// Exchanges an identity token.
    fn exchange(&self, url: Url, token: &Secret) -> Result<Response, Failure> {
        let scopes = self.scopes.join(" ");
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "plyfs"),
            ("service", self.service.unwrap_or_default()),
            ("scope", &scopes),
            ("refresh_token", token.reveal()),
        ];
        let form: Vec<String> = form
            .iter()
            .map(|(key, value)| format!("{key}={}", escape(value)))
            .collect();
        let request = Request::new(Method::Post, url, self.insecure)
            .header("content-type", "application/x-www-form-urlencoded");
        self.net
            .send(&request, &mut Body::Bytes(form.join("&").as_bytes()))
    }
}

/// Reads the answer of a token server.
fn read_answer(bytes: &[u8]) -> Result<Token, Failure> {
    let answer: Answer = serde_json::from_slice(bytes)
        .map_err(|_| Cause::Protocol("the token server's answer is not understood".into()))?;
    let given = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty());
    let token = given.ok_or_else(|| Cause::Protocol("the token server gave no token".into()))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Cause::Protocol("the token server's token is not valid".into()).into());
    }
    let life = match answer.expires_in {
        Some(seconds) if seconds >= 1.0 => seconds.min(LONGEST_LIFE as f64),
        _ => DEFAULT_LIFE as f64,
    };
    // A tenth earlier, so that it does not expire on its way.
    let life = Duration::from_secs_f64(life * 0.9);
    Ok(Token {
        header: Secret::new(format!("Bearer {token}")),
        renew_at: Some(Instant::now() + life),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_servers_are_read() {
        let life = |text: &str| {
            let token = read_answer(text.as_bytes()).unwrap();
            assert_eq!(token.header.reveal(), "Bearer abc");
            token
                .renew_at
                .unwrap()
                .duration_since(Instant::now())
                .as_secs()
        };
        assert_eq!(
            life(r#"{"token":"abc","expires_in":300,"issued_at":"2020-01-01T00:00:00Z"}"#),
            269
        );
        assert_eq!(life(r#"{"access_token":"abc"}"#), 53);
        assert_eq!(
            life(r#"{"token":"","access_token":"abc","expires_in":-5}"#),
            53
        );
        assert_eq!(life(r#"{"token":"abc","expires_in":1e300}"#), 77_759);
        for bad in ["", "[]", "{}", r#"{"token":"a\nb"}"#, r#"{"token":7}"#] {
            assert!(read_answer(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

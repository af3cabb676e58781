//! Answers, and what their statuses mean.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use ureq::BodyReader;
use ureq::http::HeaderMap;

use crate::error::{Cause, Failure};

use super::Net;
use super::http_date;
use super::url::Url;

/// The most that is read of the body of an error.
const LARGEST_ERROR: u64 = 64 << 10;

/// An answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The address it came from, after redirects.
    pub(crate) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: BodyReader<'static>,
}

/// The errors of a registry, as the distribution specification has them.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

/// One error. Token servers write `details` alone.
#[derive(Deserialize, Default)]
#[serde(default)]
struct OneError {
    code: String,
    message: String,
}

impl Response {
    /// The value of a header, if it is there once and text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(first)
    }

    /// All values of a header that are text.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    }

    /// The length that the answer announces.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Fails if the body is encoded, which was not asked for and would change its bytes.
    pub(crate) fn check_encoding(&self) -> Result<(), Failure> {
        match self.header("content-encoding") {
            None | Some("" | "identity") => Ok(()),
            Some(other) => {
                Err(Cause::Protocol(format!("the server encodes the content as {other}")).into())
            }
        }
    }

    /// The body alone.
    pub(crate) fn into_body(self) -> BodyReader<'static> {
        self.body
    }

    /// Reads the whole body, if it is not larger than a limit.
    pub(crate) fn read_all(mut self, net: &Net, limit: u64) -> Result<Vec<u8>, Failure> {
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(Cause::TooLarge { limit }.into());
        }
        let read = read_bounded(&mut self.body, limit);
        let bytes = read.map_err(|error| net.io_failure(error))?;
        match bytes.len() as u64 > limit {
            true => Err(Cause::TooLarge { limit }.into()),
            false => Ok(bytes),
        }
    }

    /// What an answer with a status that is no success means.
    pub(crate) fn into_failure(mut self) -> Failure {
        let retry_after = self.header("retry-after").and_then(read_retry_after);
        let body = read_bounded(&mut self.body, LARGEST_ERROR).unwrap_or_default();
        let said = said_in(&body);
        let cause = match self.status {
            404 => Cause::NotFound { said },
            401 | 403 => Cause::Denied { said },
            code => Cause::Status { code, said },
        };
        Failure { cause, retry_after }
    }
}

/// Reads one byte more than a limit at most.
fn read_bounded(body: &mut BodyReader<'static>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The words of a registry in the body of an error.
fn said_in(body: &[u8]) -> String {
    // serde_json refuses a depth of more than 128.
    let Ok(document) = serde_json::from_slice::<Errors>(body) else {
        return String::new();
    };
    let Some(first) = document.errors.into_iter().next() else {
        return String::new();
    };
    match (first.code.as_str(), first.message.as_str()) {
        ("", words) | (words, "") => words.to_owned(),
        (code, message) => format!("{message} ({code})"),
    }
}

/// Retry-After: seconds, or a date.
fn read_retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = http_date::parse(value.trim())?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_registries_are_read() {
        let hub = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit.","detail":{"a":1}}]}"#;
        assert_eq!(
            said_in(hub),
            "You have reached your pull rate limit. (TOOMANYREQUESTS)"
        );
        assert_eq!(said_in(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        for other in [
            &b"<html>"[..],
            b"",
            br#"{"errors":[]}"#,
            &b"[".repeat(60_000),
        ] {
            assert_eq!(said_in(other), "");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read_retry_after("17"), Some(Duration::from_secs(17)));
        assert_eq!(
            read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(read_retry_after("soon"), None);
        assert_eq!(read_retry_after("-1"), None);
    }
}

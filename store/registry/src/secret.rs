//! Passwords and tokens, which are never shown.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A password or token. `Debug` does not show its value, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends or stores it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a user identifies to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user name with its password or access token.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token from an earlier login, exchanged for short-lived ones (OAuth 2's refresh token).
    Identity(Secret),
}

impl Credentials {
    /// A user name with a password.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password {
            user: user.into(),
            password: Secret::new(password),
        }
    }

    /// The value of an Authorization header with the Basic scheme (RFC 7617).
    pub(crate) fn basic(&self) -> Option<Secret> {
        let Self::Password { user, password } = self else {
            return None;
        };
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()));
        Some(Secret(format!("Basic {pair}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let credentials = Credentials::password("ann", "hunter2");
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let identity = Credentials::Identity(Secret::new("hunter2"));
        assert!(!format!("{identity:?}").contains("hunter2"));
    }
}

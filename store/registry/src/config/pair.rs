//! Credentials as a user name and a secret, as files and helpers have them.

use crate::secret::{Credentials, Secret};

/// The user name by which helpers mark an identity token.
const TOKEN_USER: &str = "<token>";

/// The credentials of a pair, as helpers and files write them.
pub(super) fn from_pair(user: &str, secret: &str) -> Credentials {
    match user {
        TOKEN_USER => Credentials::Identity(Secret::new(secret)),
        user => Credentials::password(user, secret),
    }
}

/// The pair that stands for credentials.
pub(super) fn to_pair(credentials: &Credentials) -> (&str, &str) {
    match credentials {
        Credentials::Password { user, password } => (user, password.reveal()),
        Credentials::Identity(token) => (TOKEN_USER, token.reveal()),
    }
}

//! What can go wrong, in one type.
//!
//! Every error is one line. Text from registries is escaped in it, and it never holds a secret.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error as Derive;

use crate::text::Shown;

/// What went wrong.
#[derive(Debug, Derive)]
#[non_exhaustive]
pub enum Error {
    /// The caller's callback asked for an end.
    #[error("interrupted")]
    Interrupted,
    /// A name of a repository, tag or digest has a wrong form.
    #[error("'{}' is not a valid name: {why}", Shown(name))]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file of settings cannot be used.
    #[error("cannot use {}: {}", path.display(), Shown(why))]
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A system call on a file failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// registries.conf blocks the registry.
    #[error("{name} is blocked by registries.conf")]
    Blocked {
        /// The repository.
        name: String,
    },
    /// policy.json rejects the image.
    #[error("{name} is rejected by the policy in {}", path.display())]
    Rejected {
        /// The repository.
        name: String,
        /// The policy.
        path: PathBuf,
    },
    /// policy.json asks for signatures, which this client cannot verify.
    #[error(
        "the policy in {} requires '{}' for {name}, and plyfs cannot verify signatures",
        path.display(),
        Shown(kind)
    )]
    NeedsSignature {
        /// The repository.
        name: String,
        /// The requirement.
        kind: String,
        /// The policy.
        path: PathBuf,
    },
    /// A credential helper failed.
    #[error(
        "cannot get credentials for {host} from docker-credential-{}: {why}",
        Shown(helper)
    )]
    Helper {
        /// The name of the helper.
        helper: String,
        /// The registry.
        host: String,
        /// What happened.
        why: String,
    },
    /// A request, with all its tries, failed.
    #[error(transparent)]
    Request(Box<RequestError>),
}

impl Error {
    /// The error number of the system call that failed, if one did.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Request(request) => match &request.cause {
                Cause::Connection { errno, .. } => *errno,
                Cause::Other(error) => error.errno(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Why a request failed, if it is one.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Request(request) => Some(&request.cause),
            _ => None,
        }
    }

    /// Whether the registry does not have what was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause(), Some(Cause::NotFound { .. }))
    }
}

/// A request that failed for good.
#[derive(Debug, Derive)]
#[error("cannot {operation} {place}: {cause}{}", Tries(*tries))]
pub struct RequestError {
    /// What was tried, ending in a preposition: "fetch blob sha256:... from".
    pub operation: String,
    /// The repository at the endpoint that was asked.
    pub place: String,
    /// Why the last try failed.
    pub cause: Cause,
    /// How many tries there were since the last progress.
    pub tries: u32,
}

/// Says how often something was tried, if more than once.
struct Tries(u32);

impl std::fmt::Display for Tries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            tries => write!(f, " (tried {tries} times)"),
        }
    }
}

/// Why a request failed.
#[derive(Debug, Derive)]
#[non_exhaustive]
pub enum Cause {
    /// The caller's callback asked for an end.
    #[error("interrupted")]
    Interrupted,
    /// The registry does not have it.
    #[error("not found{}", Said(said))]
    NotFound {
        /// The registry's words.
        said: String,
    },
    /// The registry wants credentials, and there are none.
    #[error(
        "authentication is required, and no credentials for {host} are known: log in to it first"
    )]
    NoCredentials {
        /// The registry.
        host: String,
    },
    /// The registry refuses the user.
    #[error("access denied{}", Said(said))]
    Denied {
        /// The registry's words.
        said: String,
    },
    /// Another status than those a registry should answer with.
    #[error("the server answered {code}{}", Said(said))]
    Status {
        /// The HTTP status.
        code: u16,
        /// The registry's words.
        said: String,
    },
    /// The manifest is one of Docker's schema 1.
    #[error(
        "the image has a manifest of Docker's schema 1, which is obsolete and cannot be verified: build and push it again"
    )]
    Schema1,
    /// A document is larger than allowed.
    #[error("the document is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The content has another digest.
    #[error("the content has another digest: {found} instead of {expected}")]
    WrongDigest {
        /// What was asked for.
        expected: String,
        /// What came.
        found: String,
    },
    /// The document is not what it should be.
    #[error("{}", Shown(.0))]
    Document(String),
    /// The answer contradicts what is known of the blob, or the protocol.
    #[error("{}", Shown(.0))]
    Protocol(String),
    /// No byte moved for a while.
    #[error("no data moved for {:?}", .0)]
    Stalled(Duration),
    /// A connection could not be made or broke.
    #[error("{}", Shown(what))]
    Connection {
        /// What happened.
        what: String,
        /// The error number, if a system call failed.
        errno: Option<i32>,
    },
    /// The host has no address.
    #[error("the host name cannot be resolved")]
    UnknownHost,
    /// The server's certificate is not accepted.
    #[error("its certificate is not accepted ({}): put the CA into certs.d, or turn verification off", Shown(.0))]
    Certificate(String),
    /// The server does not speak TLS as it should.
    #[error("TLS failed: {}", Shown(.0))]
    Tls(String),
    /// The content to upload cannot be read.
    #[error("cannot read the content to upload: {0}")]
    Source(io::Error),
    /// Settings for the request cannot be used.
    #[error("{0}")]
    Other(Box<Error>),
}

impl Cause {
    /// A connection that failed in a way without an error number.
    pub(crate) fn broken(what: impl Into<String>) -> Self {
        Self::Connection {
            what: what.into(),
            errno: None,
        }
    }

    /// Whether another try may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500 | 502..=599),
            Self::WrongDigest { .. } | Self::Protocol(_) | Self::Stalled(_) => true,
            Self::Connection { .. } | Self::Tls(_) => true,
            _ => false,
        }
    }
}

/// The registry's own words in a message, if there are any.
struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            "" => Ok(()),
            said => write!(f, ": {}", Shown(said)),
        }
    }
}

/// One try that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// When the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            retry_after: None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Interrupted => Cause::Interrupted.into(),
            other => Cause::Other(Box::new(other)).into(),
        }
    }
}

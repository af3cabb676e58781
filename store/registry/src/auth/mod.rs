//! Identifying to one registry: its challenge, and the tokens it has given.

mod challenge;
mod token;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::{Cause, Error, Failure};
use crate::net::{Net, Response};
use crate::{Credentials, Secret};

use challenge::Challenge;
use token::{Token, TokenRequest};

/// What a request needs a token for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    /// Reading from a repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull")])
    }

    /// Writing to a repository.
    pub(crate) fn push(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull,push")])
    }

    /// With reading from another repository.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.0.push(format!("repository:{repository}:pull"));
        self
    }
}

/// What identifying to a registry takes.
pub(crate) struct Context<'a> {
    pub(crate) net: &'a Net,
    /// The registry, as its users call it.
    pub(crate) host: &'a str,
    pub(crate) is_https: bool,
    pub(crate) insecure: bool,
    /// Looks the user's credentials up.
    pub(crate) credentials: &'a dyn Fn() -> Result<Option<Credentials>, Error>,
}

/// What is known of one registry. The lock is held while a token is fetched, so that parallel requests fetch one.
#[derive(Default)]
pub(crate) struct HostAuth(Mutex<State>);

#[derive(Default)]
struct State {
    /// None as long as the registry has not asked for anything.
    challenge: Option<Challenge>,
    /// The values of Authorization by scope.
    tokens: HashMap<Vec<String>, Token>,
}

impl fmt::Debug for HostAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostAuth")
    }
}

impl HostAuth {
    /// The value of the Authorization header for a request, if the registry has asked for one before. A token that
    /// expires soon is renewed.
    pub(crate) fn header(
        &self,
        context: &Context<'_>,
        scope: &Scope,
    ) -> Result<Option<Secret>, Failure> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.challenge.is_none() {
            return Ok(None);
        }
        match state.valid_token(scope) {
            Some(token) => Ok(Some(token)),
            None => state.fetch(context, scope).map(Some),
        }
    }

    /// The value of the header after the registry has refused a request with another one, or without any.
    pub(crate) fn renew(
        &self,
        context: &Context<'_>,
        scope: &Scope,
        refusal: &Response,
        used: Option<&Secret>,
    ) -> Result<Secret, Failure> {
        let challenge = Challenge::read(&refusal.headers("www-authenticate"));
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have renewed it in the meantime.
        if let Some(token) = state.valid_token(scope)
            && Some(&token) != used
        {
            return Ok(token);
        }
        if challenge.is_none() && state.challenge.is_none() {
            let said = "the registry does not say how to identify".into();
            return Err(Cause::Denied { said }.into());
        }
        state.challenge = challenge.or(state.challenge.take());
        state.tokens.remove(&scope.0);
        let header = state.fetch(context, scope)?;
        match Some(&header) == used && state.challenge == Some(Challenge::Basic) {
            true => Err(refused(context)),
            false => Ok(header),
        }
    }
}

impl State {
    /// The token for a scope, unless it has to be renewed.
    fn valid_token(&self, scope: &Scope) -> Option<Secret> {
        let token = self.tokens.get(&scope.0)?;
        let is_valid = token.renew_at.is_none_or(|at| Instant::now() < at);
        is_valid.then(|| token.header.clone())
    }

    /// Gets what the challenge asks for.
    fn fetch(&mut self, context: &Context<'_>, scope: &Scope) -> Result<Secret, Failure> {
        let credentials = (context.credentials)()?;
        let token = match &self.challenge {
            Some(Challenge::Bearer { realm, service }) => TokenRequest {
                net: context.net,
                realm,
                service: service.as_deref(),
                scopes: &scope.0,
                credentials: credentials.as_ref(),
                is_https: context.is_https,
                insecure: context.insecure,
            }
            .send()
            .map_err(|failure| denied_by_token_server(context, credentials.is_some(), failure))?,
            _ => basic(context, credentials.as_ref())?,
        };
        let header = token.header.clone();
        self.tokens.insert(scope.0.clone(), token);
        Ok(header)
    }
}

/// The value for Basic.
fn basic(context: &Context<'_>, credentials: Option<&Credentials>) -> Result<Token, Failure> {
    let header = credentials
        .and_then(Credentials::basic)
        .ok_or_else(|| no_credentials(context))?;
    Ok(Token {
        header,
        renew_at: None,
    })
}

/// The failure if the registry wants credentials and there are none.
fn no_credentials(context: &Context<'_>) -> Failure {
    let host = context.host.to_owned();
    Cause::NoCredentials { host }.into()
}

/// The failure if the registry does not accept the credentials.
fn refused(context: &Context<'_>) -> Failure {
    let said = format!("the credentials for {} are not accepted", context.host);
    Cause::Denied { said }.into()
}

/// What it means that a token server gives no token.
fn denied_by_token_server(
    context: &Context<'_>,
    has_credentials: bool,
    failure: Failure,
) -> Failure {
    match (&failure.cause, has_credentials) {
        (Cause::Denied { .. }, true) => refused(context),
        (Cause::Denied { .. }, false) => no_credentials(context),
        _ => failure,
    }
}

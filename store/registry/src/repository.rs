//! A repository at one endpoint, and how its requests are sent.

use std::sync::Arc;

use crate::auth::{Context, Scope};
use crate::client::Client;
use crate::config::Endpoint;
use crate::error::{Cause, Error, Failure};
use crate::host::Host;
use crate::name::Target;
use crate::net::{Body, Method, Request, Response, Url};
use crate::retry::Attempts;
use crate::{Digest, Name};

/// A repository of a registry or mirror.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) client: Client,
    host: Arc<Host>,
    endpoint: Endpoint,
}

impl Client {
    /// Where a repository can be pulled from, in the order to try: its mirrors, then itself. The reference is the tag
    /// or digest that is wanted: a policy or mirror may depend on it.
    ///
    /// # Errors
    /// [`Error::Blocked`], [`Error::Rejected`] or [`Error::NeedsSignature`] if settings forbid it, and
    /// [`Error::InvalidName`] if the reference or a location in registries.conf has a wrong form.
    pub fn pull(&self, name: &Name, reference: &str) -> Result<Vec<Repository>, Error> {
        let target = Target::parse(reference)?;
        self.policy().check(name, Some(reference))?;
        let by_digest = matches!(target, Target::Digest(_));
        let endpoints = self.registries().endpoints(name, by_digest)?;
        Ok(endpoints
            .into_iter()
            .map(|endpoint| self.repository(endpoint))
            .collect())
    }

    /// Where a repository is pushed to.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub fn push(&self, name: &Name) -> Result<Repository, Error> {
        let endpoint = self.registries().push_endpoint(name)?;
        Ok(self.repository(endpoint))
    }

    /// The repository at an endpoint.
    fn repository(&self, endpoint: Endpoint) -> Repository {
        let host = self.host(&endpoint);
        Repository::new(self.clone(), host, endpoint)
    }
}

impl Repository {
    pub(crate) fn new(client: Client, host: Arc<Host>, endpoint: Endpoint) -> Self {
        Self {
            client,
            host,
            endpoint,
        }
    }

    /// Its name: for a mirror the mirror's, which differs from the one in the reference.
    pub fn name(&self) -> &Name {
        &self.endpoint.name
    }

    /// Whether it is on a mirror.
    pub fn is_mirror(&self) -> bool {
        self.endpoint.is_mirror
    }

    /// Whether the registry has a blob in this repository.
    ///
    /// # Errors
    /// [`Error::Request`], and [`Error::Interrupted`] if the callback says so.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let scope = self.pull_scope();
        let attempts = self.attempts(format!("look for blob {digest} in"));
        attempts.run(|| self.try_has_blob(&scope, digest))
    }

    /// Asks once for a blob.
    pub(crate) fn try_has_blob(&self, scope: &Scope, digest: &Digest) -> Result<bool, Failure> {
        let request = self.request(Method::Head, &format!("blobs/{digest}"))?;
        let response = self.send(scope, request, &mut Body::None)?;
        match response.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(response.into_failure()),
        }
    }

    /// Begins an operation, whose name ends in a preposition.
    pub(crate) fn attempts(&self, operation: String) -> Attempts {
        self.client
            .attempts(operation, self.endpoint.name.to_string())
    }

    /// The scope for reading.
    pub(crate) fn pull_scope(&self) -> Scope {
        Scope::pull(self.endpoint.name.path())
    }

    /// The scope for writing.
    pub(crate) fn push_scope(&self) -> Scope {
        Scope::push(self.endpoint.name.path())
    }

    /// A request for what is below the repository.
    pub(crate) fn request(&self, method: Method, below: &str) -> Result<Request, Failure> {
        let path = format!("/v2/{}/{below}", self.endpoint.name.path());
        let url = self.host.url(self.client.net(), &path)?;
        Ok(Request::new(method, url, self.host.insecure))
    }

    /// A request for an address that the registry has given.
    pub(crate) fn request_at(&self, method: Method, url: &Url) -> Request {
        Request::new(method, url.clone(), self.host.insecure)
    }

    /// The address in the Location of an answer. Registries behind a proxy that ends TLS write http for themselves.
    pub(crate) fn location(&self, response: &Response) -> Result<Url, Failure> {
        let location = response
            .header("location")
            .and_then(|location| response.url.join(location));
        let url = location.ok_or_else(|| {
            Cause::Protocol("the registry does not say where the upload goes on".into())
        })?;
        if !response.url.is_https() || url.is_https() {
            return Ok(url);
        }
        let upgraded = url.upgraded();
        match upgraded.same_origin(&response.url) {
            true => Ok(upgraded),
            false => Err(Cause::Protocol(format!("the upload leads from https to {url}")).into()),
        }
    }

    /// Sends a request, and identifies if the registry asks for it. Another host than the registry's is sent no
    /// authorization.
    pub(crate) fn send(
        &self,
        scope: &Scope,
        mut request: Request,
        body: &mut Body<'_>,
    ) -> Result<Response, Failure> {
        let net = self.client.net();
        let home = self.host.url(net, "/")?;
        let is_home = request.url.same_origin(&home);
        let credentials = || self.client.credentials(&self.endpoint);
        let context = Context {
            net,
            host: self.endpoint.name.host(),
            is_https: home.is_https(),
            insecure: self.host.insecure,
            credentials: &credentials,
        };
        if is_home {
            request.authorization = self.host.auth.header(&context, scope)?;
        }
        let response = net.send(&request, body)?;
        if response.status != 401 {
            return self.check_origin(response, &home, is_home);
        }
        if !response.url.same_origin(&home) {
            return Err(foreign_refusal(&response));
        }
        let renewed =
            self.host
                .auth
                .renew(&context, scope, &response, request.authorization.as_ref())?;
        request.authorization = Some(renewed);
        let response = net.send(&request, body)?;
        self.check_origin(response, &home, is_home)
    }

    /// Fails if a host that the registry has redirected to refuses the request: its signature may have expired, and
    /// another try gets a new one.
    fn check_origin(
        &self,
        response: Response,
        home: &Url,
        is_home: bool,
    ) -> Result<Response, Failure> {
        let is_foreign = is_home && !response.url.same_origin(home);
        match is_foreign && matches!(response.status, 400 | 401 | 403 | 404) {
            true => Err(foreign_refusal(&response)),
            false => Ok(response),
        }
    }
}

/// The failure if another host than the registry refuses a request.
fn foreign_refusal(response: &Response) -> Failure {
    let what = format!(
        "{}, where the registry keeps it, answered {}",
        response.url.host(),
        response.status
    );
    Cause::Protocol(what).into()
}

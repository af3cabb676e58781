//! The client: settings, and the hosts that were asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::{Context, HostAuth, Scope};
use crate::config::{AuthFiles, Endpoint, Places, Policy, Registries};
use crate::error::{Cause, Error, Failure};
use crate::host::Host;
use crate::name::Name;
use crate::net::{Body, Method, Net, Request};
use crate::retry::{Attempts, Interrupt, Retry};
use crate::secret::Credentials;

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where settings are looked for.
    pub places: Places,
    /// The times of requests.
    pub retry: Retry,
    /// Whether to stop; asked at least every 100 ms of waiting.
    pub interrupt: Interrupt,
    /// Credentials for the registry that a reference names, instead of those in files.
    pub credentials: Option<Credentials>,
    /// Whether certificates are verified and plain HTTP is refused, instead of what registries.conf says.
    pub tls_verify: Option<bool>,
}

impl Options {
    /// Settings at these places, and defaults for the rest.
    pub fn new(places: Places) -> Self {
        Self {
            places,
            retry: Retry::default(),
            interrupt: Interrupt::never(),
            credentials: None,
            tls_verify: None,
        }
    }
}

/// A client of registries. Clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    registries: Registries,
    policy: Policy,
    net: Net,
    hosts: Mutex<HashMap<(String, bool), Arc<Host>>>,
}

impl Client {
    /// Reads registries.conf and policy.json. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Config`] if a file cannot be used, [`Error::Io`] if it cannot be read.
    pub fn new(options: Options) -> Result<Self, Error> {
        let registries = Registries::load(&options.places)?;
        let policy = Policy::load(&options.places)?;
        let net = Net::new(
            options.places.clone(),
            options.retry.clone(),
            options.interrupt.clone(),
        );
        Ok(Self(Arc::new(Inner {
            options,
            registries,
            policy,
            net,
            hosts: Mutex::default(),
        })))
    }

    /// The settings of registries, for short names.
    pub fn registries(&self) -> &Registries {
        &self.0.registries
    }

    /// Checks credentials for a host. Storing them is [`AuthFiles::store`].
    ///
    /// # Errors
    /// [`Cause::Denied`] in [`Error::Request`] if the registry does not accept them.
    pub fn check_login(&self, host: &str, credentials: &Credentials) -> Result<(), Error> {
        // The settings of a host are those of any repository there.
        let endpoint = self
            .0
            .registries
            .push_endpoint(&Name::new(host, "login")?)?;
        let host = self.host(&endpoint);
        let attempts = self.attempts("log in to".into(), endpoint.name.host().to_owned());
        attempts.run(|| {
            let context = Context {
                net: &self.0.net,
                host: endpoint.name.host(),
                is_https: host.url(&self.0.net, "/v2/")?.is_https(),
                insecure: host.insecure,
                credentials: &|| Ok(Some(credentials.clone())),
            };
            self.try_login(&host, &context)
        })
    }

    /// Asks the registry without credentials, then with them.
    fn try_login(&self, host: &Host, context: &Context<'_>) -> Result<(), Failure> {
        let mut request = Request::new(Method::Get, host.url(&self.0.net, "/v2/")?, host.insecure);
        let first = self.0.net.send(&request, &mut Body::None)?;
        if first.status == 200 {
            return Ok(());
        }
        if first.status != 401 {
            return Err(first.into_failure());
        }
        let auth = HostAuth::default();
        request.authorization = Some(auth.renew(context, &Scope::default(), &first, None)?);
        let second = self.0.net.send(&request, &mut Body::None)?;
        match second.status {
            200 => Ok(()),
            401 => {
                let said = format!("the credentials for {} are not accepted", context.host);
                Err(Cause::Denied { said }.into())
            }
            _ => Err(second.into_failure()),
        }
    }

    /// The host of an endpoint.
    pub(crate) fn host(&self, endpoint: &Endpoint) -> Arc<Host> {
        let insecure = self
            .0
            .options
            .tls_verify
            .map_or(endpoint.insecure, |verify| !verify);
        let name = endpoint.name.host().to_owned();
        let mut hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry((name, insecure));
        let host = host.or_insert_with_key(|(name, insecure)| Arc::new(Host::new(name, *insecure)));
        host.clone()
    }

    /// The credentials for an endpoint. Those of the options are for the registry itself, not for a mirror.
    pub(crate) fn credentials(&self, endpoint: &Endpoint) -> Result<Option<Credentials>, Error> {
        if let Some(credentials) = self
            .0
            .options
            .credentials
            .as_ref()
            .filter(|_| !endpoint.is_mirror)
        {
            return Ok(Some(credentials.clone()));
        }
        let files = AuthFiles::new(&self.0.options.places, self.0.options.interrupt.clone());
        files.find(&endpoint.name.to_string())
    }

    /// Which repositories may be used.
    pub(crate) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// The network.
    pub(crate) fn net(&self) -> &Net {
        &self.0.net
    }

    /// The times of requests.
    pub(crate) fn retry(&self) -> &Retry {
        &self.0.options.retry
    }

    /// Begins an operation.
    pub(crate) fn attempts(&self, operation: String, place: String) -> Attempts {
        Attempts::new(
            &self.0.options.retry,
            &self.0.options.interrupt,
            operation,
            place,
        )
    }
}

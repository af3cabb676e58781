//! One host with a registry: whether it is reached by TLS, and what it knows of the user.

use std::sync::{Mutex, PoisonError};

use crate::auth::HostAuth;
use crate::error::{Cause, Failure};
use crate::name::{address_of, is_loopback};
use crate::net::{Body, Method, Net, Request, Url};

/// A host. Repositories on one host share it.
#[derive(Debug)]
pub(crate) struct Host {
    /// Where it is reached, with its port.
    address: String,
    /// Whether certificates are not verified.
    pub(crate) insecure: bool,
    /// Whether it is reached by TLS, once that is known.
    is_https: Mutex<Option<bool>>,
    pub(crate) auth: HostAuth,
}

impl Host {
    /// A host as references call it.
    pub(crate) fn new(host: &str, insecure: bool) -> Self {
        let address = address_of(host).to_owned();
        // Plain HTTP is only for this machine, and where the user allows it.
        let may_be_plain = insecure || is_loopback(&address);
        Self {
            address,
            insecure,
            is_https: Mutex::new((!may_be_plain).then_some(true)),
            auth: HostAuth::default(),
        }
    }

    /// The address of a path. Where plain HTTP is allowed, the first call asks the host what it speaks.
    pub(crate) fn url(&self, net: &Net, path: &str) -> Result<Url, Failure> {
        let mut is_https = self.is_https.lock().unwrap_or_else(PoisonError::into_inner);
        let https = match *is_https {
            Some(known) => known,
            None => *is_https.insert(self.speaks_tls(net)?),
        };
        Ok(Url::new(https, &self.address, path))
    }

    /// Whether the host speaks TLS. It is asked by TLS first, so that plain HTTP is used only without it.
    fn speaks_tls(&self, net: &Net) -> Result<bool, Failure> {
        let with_tls = match self.ping(net, true) {
            Ok(_) => return Ok(true),
            Err(failure) => failure,
        };
        // A host with a wrong certificate does speak TLS.
        let may_be_plain = matches!(
            with_tls.cause,
            Cause::Tls(_) | Cause::Connection { .. } | Cause::Stalled(_) | Cause::Protocol(_)
        );
        if !may_be_plain {
            return Err(with_tls);
        }
        match self.ping(net, false) {
            Ok(status) if is_status_of_registry(status) => Ok(false),
            Ok(status) => Err(Cause::broken(format!(
                "the server answers {status} to plain HTTP and does not speak TLS"
            ))
            .into()),
            Err(plain) => Err(plain),
        }
    }

    /// Asks whether there is a registry, and returns the status.
    fn ping(&self, net: &Net, https: bool) -> Result<u16, Failure> {
        let url = Url::new(https, &self.address, "/v2/");
        let request = Request::new(Method::Get, url, self.insecure);
        let response = net.send(&request, &mut Body::None)?;
        let status = response.status;
        match https || is_status_of_registry(status) || status == 400 {
            true => Ok(status),
            // A 429 or a 5xx says nothing of what the host speaks.
            false => Err(response.into_failure()),
        }
    }
}

/// Whether a registry without TLS answers so. Servers with TLS answer 400 to plain HTTP.
fn is_status_of_registry(status: u16) -> bool {
    matches!(status, 200 | 401 | 403 | 404)
}

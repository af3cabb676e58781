//! Addresses of hosts, with waits in slices as those of connections.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::NextTimeout;

use crate::retry::{Interrupt, SLICE};

/// The most addresses of one host that are tried; the list holds 16.
const MOST_ADDRESSES: usize = 16;

/// Resolves names as the C library does.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) interrupt: Interrupt,
}

impl UreqResolver for Resolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut found = self.empty();
        match host.parse::<IpAddr>() {
            Ok(address) => found.push(SocketAddr::new(address, port)),
            Err(_) => {
                let addresses = self.look_up(host, port, timeout)?;
                addresses
                    .into_iter()
                    .take(MOST_ADDRESSES)
                    .for_each(|address| found.push(address));
            }
        }
        match found.is_empty() {
            true => Err(Error::HostNotFound),
            false => Ok(found),
        }
    }
}

impl Resolver {
    /// Asks the C library, in a thread that is left to itself if it takes too long.
    fn look_up(
        &self,
        host: &str,
        port: u16,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        let end = Instant::now() + super::transport::limit_of(&timeout);
        let (sender, receiver) = mpsc::channel();
        let host = host.to_owned();
        thread::Builder::new().spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            // Without a receiver the wait is over.
            sender.send(addresses).ok();
        })?;
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(Ok(addresses)) => return Ok(addresses),
                Err(RecvTimeoutError::Timeout) if self.interrupt.is_set() => {
                    return Err(Error::ConnectionFailed);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => return Err(Error::Timeout(timeout.reason)),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::HostNotFound);
                }
            }
        }
    }
}

//! Which proxy a host is reached through: HTTPS_PROXY, HTTP_PROXY and NO_PROXY as Go's tools read them.

use std::env;
use std::fmt;
use std::net::IpAddr;

use crate::name::{is_loopback, split_port};

/// The proxies of the environment. This machine itself is never reached through one.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For https.
    pub https: Option<String>,
    /// For plain HTTP.
    pub http: Option<String>,
    /// Hosts that are reached directly: names, with all below them, addresses, networks as `10.0.0.0/8`, each
    /// with a port if only that is meant, or `*`. Separated by commas.
    pub none: String,
}

impl Proxies {
    /// Those of the environment, in upper or lower case.
    pub fn from_env() -> Self {
        let read = |names: [&str; 2]| {
            let values = names.into_iter().filter_map(|name| env::var(name).ok());
            values.into_iter().find(|value| !value.is_empty())
        };
        Self {
            https: read(["HTTPS_PROXY", "https_proxy"]),
            http: read(["HTTP_PROXY", "http_proxy"]),
            none: read(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        }
    }

    /// The address of the proxy for a host with an optional port.
    pub(crate) fn proxy_for(&self, https: bool, host: &str) -> Option<&str> {
        let proxy = if https { &self.https } else { &self.http };
        let is_direct = is_loopback(host)
            || self
                .none
                .split(',')
                .any(|entry| covers(entry.trim(), https, host));
        proxy.as_deref().filter(|_| !is_direct)
    }
}

/// The addresses may contain a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("https", &self.https.is_some())
            .field("http", &self.http.is_some())
            .field("none", &self.none)
            .finish()
    }
}

/// Whether an entry of NO_PROXY covers a host.
fn covers(entry: &str, https: bool, host: &str) -> bool {
    let (host, port) = split_port(host);
    let port = port.unwrap_or(if https { "443" } else { "80" });
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse::<IpAddr>()) {
        return is_in_network(network, bits, address);
    }
    let (entry, wanted_port) = match entry.parse::<IpAddr>() {
        Ok(_) => (entry, None),
        Err(_) => split_port(entry),
    };
    if entry.is_empty() || wanted_port.is_some_and(|wanted| wanted != port) {
        return entry == "*";
    }
    let entry = entry
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    let is_below = host
        .strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'));
    // With a dot before it, an entry means only what is below.
    domain.is_empty() || is_below || (domain == entry && host == entry)
}

/// Whether an address is in a network.
fn is_in_network(network: &str, bits: &str, address: IpAddr) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_has_hosts_domains_networks_and_ports() {
        let proxies = Proxies {
            https: Some("http://secret:word@proxy:3128".into()),
            http: None,
            none: "a.io, .b.io,10.0.0.0/8,c.io:444,fd00::/8,*.d.io,1.2.3.4".into(),
        };
        let direct = [
            "a.io",
            "x.a.io",
            "x.b.io",
            "10.2.3.4:99",
            "c.io:444",
            "[fd00::1]:5",
            "x.d.io",
            "1.2.3.4",
            "localhost",
        ];
        for host in direct {
            assert!(proxies.proxy_for(true, host).is_none(), "{host}");
        }
        for host in ["b.io", "ba.io", "11.2.3.4", "c.io", "[fe00::1]", "d.io"] {
            assert!(proxies.proxy_for(true, host).is_some(), "{host}");
        }
        assert!(proxies.proxy_for(false, "b.io").is_none());
        assert!(!format!("{proxies:?}").contains("word"));
        let all = Proxies {
            none: "*".into(),
            ..proxies
        };
        assert!(all.proxy_for(true, "b.io").is_none());
    }
}

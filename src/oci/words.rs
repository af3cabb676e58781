//! Values of options of `plyfs run`, in the syntax that Podman has for them.

use std::net::IpAddr;
use std::str::FromStr;

use oci_spec::runtime::{Capability, PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use crate::error::{Context, Result};

/// A limit of resources: `NAME=SOFT[:HARD]`, as in getrlimit(2) without `RLIMIT_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ulimit {
    kind: PosixRlimitType,
    soft: u64,
    hard: u64,
}

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("give NAME=SOFT[:HARD]")?;
        let kind = kind_of_limit(name).ok_or_else(|| format!("there is no limit {name:?}"))?;
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let (soft, hard) = (limit(soft)?, limit(hard)?);
        if soft > hard {
            return Err("the soft limit is above the hard one".to_owned());
        }
        Ok(Self { kind, soft, hard })
    }
}

impl Ulimit {
    pub(super) fn to_rlimit(self) -> Result<PosixRlimit> {
        PosixRlimitBuilder::default()
            .typ(self.kind)
            .soft(self.soft)
            .hard(self.hard)
            .build()
            .context("describe a limit")
    }
}

fn limit(text: &str) -> Result<u64, String> {
    match text {
        "unlimited" | "-1" => Ok(u64::MAX),
        _ => text
            .parse()
            .map_err(|_| format!("{text:?} is neither a number nor \"unlimited\"")),
    }
}

fn kind_of_limit(name: &str) -> Option<PosixRlimitType> {
    Some(match name.to_ascii_lowercase().as_str() {
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        "as" => PosixRlimitType::RlimitAs,
        _ => return None,
    })
}

/// A line of /etc/hosts: `NAME:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddedHost {
    pub(crate) name: String,
    /// `None` for `host-gateway`: this machine, which is the container's own with its network.
    pub(crate) address: Option<IpAddr>,
}

impl FromStr for AddedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once(':').ok_or("give NAME:ADDRESS")?;
        if name.is_empty()
            || name
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || c == '#')
        {
            return Err(format!("{name:?} is no name of a host"));
        }
        let address = match address {
            "host-gateway" => None,
            _ => Some(
                address
                    .trim_matches(['[', ']'])
                    .parse()
                    .map_err(|_| format!("{address:?} is no address"))?,
            ),
        };
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// A name server for the container, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dns {
    /// The image's own /etc/resolv.conf stays.
    None,
    Server(IpAddr),
}

impl FromStr for Dns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => text
                .parse()
                .map(Self::Server)
                .map_err(|_| format!("{text:?} is no address")),
        }
    }
}

/// A capability, with or without `CAP_`, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CapabilityWord {
    All,
    One(Capability),
}

impl FromStr for CapabilityWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            return Ok(Self::All);
        }
        // The library reads any name that it does not know as its first.
        let known = Capability::from_str(name).map_err(|_| ());
        known
            .map(Self::One)
            .map_err(|()| format!("there is no capability {text:?} (capabilities(7))"))
    }
}

/// `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecurityOption {
    NoNewPrivileges(bool),
    /// `seccomp=unconfined`: no filter of system calls.
    NoSeccomp,
    /// `mask=PATHS`: more paths to cover.
    Mask(Vec<String>),
    /// `unmask=PATHS`, `unmask=ALL`: paths not to cover and not to make read-only.
    Unmask(Vec<String>),
}

impl FromStr for SecurityOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(['=', ':']) {
            Some((name, value)) => (name, value),
            None => (text, ""),
        };
        let paths = || value.split(':').map(str::to_owned).collect();
        match (name, value) {
            ("no-new-privileges", "" | "true") => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", "false") => Ok(Self::NoNewPrivileges(false)),
            ("seccomp", "unconfined") => Ok(Self::NoSeccomp),
            ("mask", value) if !value.is_empty() => Ok(Self::Mask(paths())),
            ("unmask", value) if !value.is_empty() => Ok(Self::Unmask(paths())),
            ("seccomp", _) => Err(
                "plyfs takes seccomp=unconfined; for a profile of your own write a bundle (plyfs bundle) \
                 and change its config.json"
                    .to_owned(),
            ),
            ("label" | "apparmor", _) => Err(format!(
                "{name} labels are not set by plyfs; run the container with Podman on plyfs for them"
            )),
            _ => Err(
                "give no-new-privileges, seccomp=unconfined, mask=PATH[:PATH...] or unmask=ALL|PATH[:PATH...]"
                    .to_owned(),
            ),
        }
    }
}

/// Reads a file of `--env-file`: a variable a line, `NAME=VALUE` or `NAME` for the value that the caller
/// has; empty lines and those that begin with `#` say nothing.
pub(crate) fn env_file(text: &str) -> Result<Vec<String>, String> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!(
                "line {}: {name:?} is no name of a variable",
                number + 1
            ));
        }
        pairs.push(line.to_owned());
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let read = |text: &str| text.parse::<Ulimit>();
        let limit = read("nofile=10:20").unwrap();
        assert_eq!((limit.soft, limit.hard), (10, 20));
        let limit = read("NPROC=5").unwrap();
        assert_eq!((limit.soft, limit.hard), (5, 5));
        assert_eq!(read("core=unlimited").unwrap().hard, u64::MAX);
        for text in [
            "nofile",
            "nothing=1",
            "nofile=x",
            "nofile=2:1",
            "nofile=1:2:3",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_read() {
        let host: AddedHost = "db:10.0.0.1".parse().unwrap();
        assert_eq!(
            (host.name.as_str(), host.address),
            ("db", "10.0.0.1".parse().ok())
        );
        assert_eq!(
            "db:[::1]".parse::<AddedHost>().unwrap().address,
            "::1".parse().ok()
        );
        assert_eq!(
            "db:host-gateway".parse::<AddedHost>().unwrap().address,
            None
        );
        for text in ["db", ":1.2.3.4", "d b:1.2.3.4", "db:1.2.3", "a\nb:1.2.3.4"] {
            assert!(text.parse::<AddedHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn capabilities_are_read() {
        for text in ["NET_ADMIN", "cap_net_admin", "net_admin"] {
            let read = text.parse();
            assert_eq!(
                read,
                Ok(CapabilityWord::One(Capability::NetAdmin)),
                "{text}"
            );
        }
        assert_eq!("all".parse(), Ok(CapabilityWord::All));
        assert!("NO_SUCH".parse::<CapabilityWord>().is_err());
    }

    #[test]
    fn env_files_are_read() {
        let read = env_file("# note\n\nA=b c=d\n  HOME\n").unwrap();
        assert_eq!(read, ["A=b c=d", "HOME"]);
        assert!(env_file("A=1\n=2\n").unwrap_err().contains("line 2"));
        assert!(env_file("a b=2\n").unwrap_err().contains("a b"));
    }

    #[test]
    fn security_options_are_read() {
        assert_eq!(
            "no-new-privileges".parse(),
            Ok(SecurityOption::NoNewPrivileges(true))
        );
        assert_eq!("seccomp=unconfined".parse(), Ok(SecurityOption::NoSeccomp));
        let paths = vec!["/proc/acpi".to_owned(), "/sys/firmware".to_owned()];
        assert_eq!(
            "unmask=/proc/acpi:/sys/firmware".parse(),
            Ok(SecurityOption::Unmask(paths))
        );
        for text in ["seccomp=profile.json", "label=disable", "nonsense", "mask="] {
            assert!(text.parse::<SecurityOption>().is_err(), "{text}");
        }
    }
}

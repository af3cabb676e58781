//! The options of `plyfs run` and `plyfs bundle` that describe a container. Names and syntax are Podman's.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::volume::UserMount;
use super::words::{AddedHost, CapabilityWord, Dns, SecurityOption, Ulimit};
use crate::error::{CliError, Result};

/// What a user says of a container.
#[derive(Debug, Clone, Default, Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets of a usage, not of a link"
)]
pub(crate) struct ContainerOptions {
    /// Mount a directory or file of this machine in the container; OPTIONS are ro, suid, dev, noexec, bind,
    /// rslave, ...
    #[arg(short, long = "volume", value_name = "SRC:DST[:OPTIONS]", value_parser = UserMount::volume)]
    pub(crate) volumes: Vec<UserMount>,
    /// Mount type=bind,src=SRC,dst=DST[,ro] or type=tmpfs,dst=DST[,tmpfs-size=BYTES]
    #[arg(long = "mount", value_name = "type=TYPE,...")]
    pub(crate) mounts: Vec<UserMount>,
    /// Mount an empty directory in memory
    #[arg(long, value_name = "DST[:OPTIONS]", value_parser = UserMount::tmpfs)]
    pub(crate) tmpfs: Vec<UserMount>,
    /// Set an environment variable; without a value, pass it on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file, a line each
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The directory to run in, instead of the image's
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// The user to run as, instead of the image's
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// What to run before the command, instead of the image's; empty for nothing
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<OsString>,
    /// The host name in the container [default: the container's name]
    #[arg(short = 'h', long, value_name = "NAME", value_parser = hostname)]
    pub(crate) hostname: Option<String>,
    /// The network: that of this machine, or none but the loopback device
    #[arg(
        long,
        visible_alias = "net",
        value_enum,
        default_value = "host",
        value_name = "NETWORK"
    )]
    pub(crate) network: Network,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<AddedHost>,
    /// A name server for /etc/resolv.conf instead of this machine's; none leaves the image's file
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<Dns>,
    /// Add a capability (capabilities(7)), or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<CapabilityWord>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<CapabilityWord>,
    /// no-new-privileges, seccomp=unconfined, mask=PATHS, unmask=ALL or unmask=PATHS
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<SecurityOption>,
    /// Let the container change nothing of its root; /run, /tmp and /var/tmp are empty and in memory, and what
    /// is mounted stays writable
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) read_only: bool,
    /// Limit a resource, as in getrlimit(2): nofile=1024:2048, nproc=100, core=0, ...
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<Ulimit>,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Network {
    /// That of this machine
    #[default]
    Host,
    /// The loopback device alone
    None,
}

/// A name that sethostname(2) and a resolver take.
fn hostname(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("a host name has 1 to 64 letters, digits, \"-\", \"_\" and \".\"".to_owned());
    }
    Ok(text.to_owned())
}

impl ContainerOptions {
    /// Refuses options that contradict each other.
    ///
    /// # Errors
    /// If two mounts that differ have one place, as in Podman.
    pub(crate) fn check(&self) -> Result {
        let mut places = HashMap::new();
        for mount in self.user_mounts() {
            match places.insert(mount.target(), mount) {
                Some(other) if other != mount => {
                    return Err(CliError::new(format_args!(
                        "two mounts have the place {} in the container (-v, --mount, --tmpfs); give each its own",
                        mount.target().display()
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All mounts that the user asks for.
    pub(crate) fn user_mounts(&self) -> impl Iterator<Item = &UserMount> {
        self.volumes.iter().chain(&self.mounts).chain(&self.tmpfs)
    }
}

//! What a configuration is made of.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxIdMapping;
use plyfs_store::ImageConfiguration;

use super::command::Command;
use super::options::ContainerOptions;
use super::user::Identity;

/// Everything that a configuration is made of.
pub(crate) struct Request<'a> {
    pub(crate) image: &'a ImageConfiguration,
    pub(crate) options: &'a ContainerOptions,
    pub(crate) command: &'a Command,
    pub(crate) identity: &'a Identity,
    pub(crate) hostname: &'a str,
    /// Where the image is mounted.
    pub(crate) root: &'a Path,
    pub(crate) read_only: bool,
    pub(crate) terminal: bool,
    /// Variables besides those of the image, `NAME=VALUE`; later ones hold.
    pub(crate) environment: &'a [String],
    /// What relative sources of mounts are relative to.
    pub(crate) directory: &'a Path,
    /// Files of this machine to show in the container: a file, and its place.
    pub(crate) files: &'a [(PathBuf, &'static str)],
    pub(crate) host: &'a Host,
}

/// What a configuration needs to know of where the container will run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// Whether the caller is in a user namespace: it may not mount sysfs of the machine's network then.
    pub(crate) in_user_namespace: bool,
    /// Whether /sys/fs/cgroup is of version 2.
    pub(crate) unified_cgroups: bool,
    /// Whether the group 5 (tty), to which terminals belong, has an id.
    pub(crate) has_tty_group: bool,
    /// Whether a process may have no supplementary groups: setgroups(2) is denied in a user namespace with a
    /// single id (user_namespaces(7)).
    pub(crate) denies_groups: bool,
    /// Paths of this machine to cover besides the usual ones.
    pub(crate) masked: Vec<String>,
    /// Maps for a user namespace that the runtime is to make: users and groups.
    pub(crate) mappings: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
}

//! From the configuration of an image and what a user says to the configuration of a container, in the
//! terms of the OCI runtime specification (config.md, config-linux.md).
//!
//! Nothing here makes a system call or reads a file: what has to be looked up (ids, host files, namespaces)
//! comes in with the [`Request`]. The result serves the runtime inside this program, any other runtime
//! (`--runtime`), and `plyfs bundle` alike.

mod command;
pub(crate) mod defaults;
mod mounts;
pub(crate) mod options;
mod process;
mod request;
pub(crate) mod seccomp;
pub(crate) mod user;
mod volume;
pub(crate) mod words;

use std::collections::HashSet;

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder,
    Spec, SpecBuilder,
};

use crate::error::{Context, Result};
pub(crate) use command::Command;
use options::Network;
pub(crate) use request::{Host, Request};
use words::SecurityOption;

/// Makes the configuration.
///
/// # Errors
/// For what cannot be written in it: words that are no text, capabilities that do not exist.
pub(crate) fn configuration(request: &Request<'_>) -> Result<Spec> {
    let root = RootBuilder::default()
        .path(request.root)
        .readonly(request.read_only)
        .build()
        .context("describe the root")?;
    SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .hostname(request.hostname)
        .process(process::process(request)?)
        .mounts(mounts::mounts(request)?)
        .linux(linux(request)?)
        .build()
        .context("describe the container")
}

fn linux(request: &Request<'_>) -> Result<Linux> {
    let capabilities = process::granted(request)?;
    let more = request.host.masked.iter().map(String::as_str);
    let masked: Vec<&str> = defaults::MASKED.into_iter().chain(more).collect();
    let mut builder = LinuxBuilder::default()
        .namespaces(namespaces(request)?)
        .masked_paths(paths(request, &masked, true))
        .readonly_paths(paths(request, &defaults::READ_ONLY, false))
        .rootfs_propagation("private");
    if let Some((users, groups)) = &request.host.mappings {
        builder = builder
            .uid_mappings(users.clone())
            .gid_mappings(groups.clone());
    }
    if !request
        .options
        .security_opt
        .contains(&SecurityOption::NoSeccomp)
    {
        builder = builder.seccomp(seccomp::default_profile(&capabilities)?);
    }
    builder.build().context("describe the container")
}

fn namespaces(request: &Request<'_>) -> Result<Vec<LinuxNamespace>> {
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    if request.options.network == Network::None {
        kinds.push(LinuxNamespaceType::Network);
    }
    if request.host.mappings.is_some() {
        kinds.push(LinuxNamespaceType::User);
    }
    let namespace = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
    let namespaces = kinds.into_iter().map(namespace);
    namespaces
        .collect::<Result<_, _>>()
        .context("describe namespaces")
}

/// Paths to cover or to make read-only, with what the user adds and takes away.
fn paths(request: &Request<'_>, defaults: &[&str], masks: bool) -> Vec<String> {
    let mut added = Vec::new();
    let mut removed = HashSet::new();
    for option in &request.options.security_opt {
        match option {
            SecurityOption::Mask(paths) if masks => added.extend(paths.iter().cloned()),
            SecurityOption::Unmask(paths) => removed.extend(paths.iter().map(String::as_str)),
            _ => {}
        }
    }
    let all = removed.iter().any(|path| path.eq_ignore_ascii_case("all"));
    let kept = defaults
        .iter()
        .filter(|path| !all && !removed.contains(*path));
    kept.map(|path| (*path).to_owned()).chain(added).collect()
}

#[cfg(test)]
mod tests;

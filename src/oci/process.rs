//! The process of a container: what is run, as whom, with which environment, powers and limits.

use std::str::FromStr;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, ProcessBuilder,
    User, UserBuilder,
};

use super::defaults;
use super::request::Request;
use super::words::{CapabilityWord, SecurityOption};
use crate::error::{Context, Result};

/// The entry of the configuration.
pub(super) fn process(request: &Request<'_>) -> Result<Process> {
    let options = request.options;
    let limits = options.ulimit.iter().map(|limit| limit.to_rlimit());
    let no_new_privileges = options
        .security_opt
        .iter()
        .rev()
        .find_map(|option| match option {
            SecurityOption::NoNewPrivileges(on) => Some(*on),
            _ => None,
        });
    ProcessBuilder::default()
        .terminal(request.terminal)
        .user(user(request)?)
        .args(request.command.arguments.clone())
        .env(environment(request))
        .cwd(&request.command.directory)
        .capabilities(capabilities(request)?)
        .rlimits(limits.collect::<Result<Vec<_>>>()?)
        .no_new_privileges(no_new_privileges.unwrap_or(false))
        .build()
        .context("describe the process")
}

fn user(request: &Request<'_>) -> Result<User> {
    let identity = request.identity;
    let builder = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .umask(defaults::UMASK);
    let builder = if request.host.denies_groups {
        builder
    } else {
        builder.additional_gids(identity.groups.clone())
    };
    builder.build().context("describe the user")
}

/// Variables that every container has, then those of the image, then the user's; a later one of a name
/// replaces an earlier one at its place.
fn environment(request: &Request<'_>) -> Vec<String> {
    let config = request.image.config().as_ref();
    let mut of_image = config
        .and_then(|config| config.env().clone())
        .unwrap_or_default();
    // Only the user can have a variable of the caller passed on (CVE-2026-57231).
    of_image.retain(|pair| pair.contains('='));
    // As in Podman, who has no account is at home where the command starts.
    let home = match request.identity.has_account {
        true => request.identity.home.clone(),
        false => request.command.directory.to_string_lossy().into_owned(),
    };
    let given = [
        format!("PATH={}", defaults::PATH),
        format!("HOME={home}"),
        format!("HOSTNAME={}", request.hostname),
        "container=plyfs".to_owned(),
    ];
    let mut all: Vec<String> = Vec::new();
    let more = request.environment.iter().cloned();
    for pair in given.into_iter().chain(of_image).chain(more) {
        let name = pair.split('=').next().unwrap_or_default();
        // The kernel takes anything, but a name is needed to find it again.
        if name.is_empty() {
            continue;
        }
        let same = |other: &&mut String| other.split('=').next() == pair.split('=').next();
        match all.iter_mut().find(same) {
            Some(earlier) => *earlier = pair,
            None => all.push(pair),
        }
    }
    all
}

/// The capabilities that a set-uid program or root in the container can have.
pub(super) fn granted(request: &Request<'_>) -> Result<Capabilities> {
    let mut granted = all_of(&defaults::CAPABILITIES)?;
    let options = request.options;
    // As in Podman: ALL first, then the others, and what is dropped by name stays dropped.
    if options.cap_add.contains(&CapabilityWord::All) {
        granted = all_of(&defaults::ALL_CAPABILITIES)?;
    }
    if options.cap_drop.contains(&CapabilityWord::All) {
        granted.clear();
    }
    granted.extend(added(request));
    for word in &options.cap_drop {
        if let CapabilityWord::One(one) = word {
            granted.remove(one);
        }
    }
    Ok(granted)
}

/// Those that the user adds by name.
fn added(request: &Request<'_>) -> impl Iterator<Item = Capability> {
    let words = request.options.cap_add.iter();
    words.filter_map(|word| match word {
        CapabilityWord::One(one) => Some(*one),
        CapabilityWord::All => None,
    })
}

fn all_of(names: &[&str]) -> Result<Capabilities> {
    let capability = |name: &&str| Capability::from_str(name);
    let all = names.iter().map(capability).collect::<Result<_, _>>();
    all.context("name a capability")
}

/// Root has what is granted. Others get it by executing a set-uid program, and have from the beginning what
/// the user added by name. Nothing is inheritable but that (CVE-2022-24769).
fn capabilities(request: &Request<'_>) -> Result<LinuxCapabilities> {
    let granted = granted(request)?;
    let kept: Capabilities = added(request).filter(|one| granted.contains(one)).collect();
    let is_root = request.identity.uid == 0;
    let own = if is_root {
        granted.clone()
    } else {
        kept.clone()
    };
    let passed_on = if is_root { Capabilities::new() } else { kept };
    LinuxCapabilitiesBuilder::default()
        .bounding(granted)
        .effective(own.clone())
        .permitted(own)
        .inheritable(passed_on.clone())
        .ambient(passed_on)
        .build()
        .context("describe capabilities")
}

//! Giving up what the root of the namespace can do: ids, groups, capabilities (config.md, "User";
//! capabilities(7)).

use std::os::fd::AsFd;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, User};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::bond::Bond;
use crate::error::{CliError, Context, Result};
use crate::oci::user::require_small;

/// Takes the ids and capabilities of a process of a configuration. What remains is what it says, whatever
/// this process had before.
pub(super) fn take(process: &Process, bond: &Bond) -> Result {
    let wanted = process.capabilities().as_ref();
    let sets = Sets::read(wanted)?;
    drop_bounding_set(sets.bounding)?;
    // Otherwise another user id takes all of them away.
    rustix::thread::set_keep_capabilities(true).context("keep capabilities")?;
    take_ids(process.user())?;
    rustix::thread::set_keep_capabilities(false).context("keep capabilities")?;
    bond.tie()?;
    // With fs.suid_dumpable=1 another id lets others look into this process again (proc(5)).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("hide from other processes")?;
    let capabilities = CapabilitySets {
        effective: sets.effective,
        permitted: sets.permitted,
        inheritable: sets.inheritable,
    };
    rustix::thread::set_capabilities(None, capabilities).context("set capabilities")?;
    rustix::thread::clear_ambient_capability_set().context("set ambient capabilities")?;
    for capability in sets.ambient.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .context("set ambient capabilities")?;
    }
    Ok(())
}

struct Sets {
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Sets {
    /// What a configuration says; nothing where it says nothing. What this process does not have it cannot
    /// give.
    fn read(wanted: Option<&LinuxCapabilities>) -> Result<Self> {
        let own = rustix::thread::capabilities(None).context("read capabilities")?;
        let set = |of: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
            let set = wanted.and_then(|wanted| of(wanted).as_ref());
            kernel_set(set.into_iter().flatten()) & own.permitted
        };
        Ok(Self {
            bounding: set(LinuxCapabilities::bounding),
            effective: set(LinuxCapabilities::effective),
            permitted: set(LinuxCapabilities::permitted),
            inheritable: set(LinuxCapabilities::inheritable),
            ambient: set(LinuxCapabilities::ambient),
        })
    }
}

fn kernel_set<'c>(
    capabilities: impl Iterator<Item = &'c oci_spec::runtime::Capability>,
) -> CapabilitySet {
    let named = capabilities.filter_map(|one| CapabilitySet::from_name(&one.to_string()));
    named.collect()
}

fn drop_bounding_set(kept: CapabilitySet) -> Result {
    for capability in CapabilitySet::all().difference(kept).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability this kernel does not have.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error).context("drop capabilities"),
        }
    }
    Ok(())
}

/// Gives pipes at standard input, output and error to another user than root, so that it can open /dev/stdout
/// and the like. Files stay whose they are: they are seen outside of the container too.
fn give_pipes(user: Uid) {
    /// `PIPEFS_MAGIC` (statfs(2)).
    const PIPES: u64 = 0x5049_5045;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let is_pipe = rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as u64 == PIPES);
        if is_pipe && let Err(errno) = rustix::fs::fchown(fd, Some(user), None) {
            log::debug!("cannot give a pipe to the user: {errno}");
        }
    }
}

fn take_ids(user: &User) -> Result {
    let (uid, gid) = (require_small(user.uid())?, require_small(user.gid())?);
    if uid != 0 {
        give_pipes(Uid::from_raw(uid));
    }
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    let groups: Vec<Gid> = groups
        .iter()
        .map(|gid| Ok(Gid::from_raw(require_small(*gid)?)))
        .collect::<Result<_>>()?;
    match rustix::thread::set_thread_groups(&groups) {
        // A namespace with a single id has no other groups to take, nor to leave.
        Err(Errno::PERM) if may_set_groups()? => {}
        Err(Errno::INVAL) => return Err(no_group(&groups)),
        other => other.context("set supplementary groups")?,
    }
    let group = Gid::from_raw(gid);
    match rustix::thread::set_thread_res_gid(group, group, group) {
        Err(Errno::INVAL) => return Err(no_id("group", gid)),
        other => other.context("set the group")?,
    }
    let user = Uid::from_raw(uid);
    match rustix::thread::set_thread_res_uid(user, user, user) {
        Err(Errno::INVAL) => Err(no_id("user", uid)),
        other => other.context("set the user"),
    }
}

/// Whether this process has the power over groups, which a user namespace can deny even so (user_namespaces(7),
/// "The /proc/pid/setgroups file").
fn may_set_groups() -> Result<bool> {
    let sets = rustix::thread::capabilities(None).context("read capabilities")?;
    Ok(sets.effective.contains(CapabilitySet::SETGID))
}

/// Which group the kernel does not take: one without an id in this user namespace. [`identify`] has limited
/// their number.
///
/// [`identify`]: crate::oci::user::identify
fn no_group(groups: &[Gid]) -> CliError {
    let is_refused = |group: &&Gid| rustix::thread::set_thread_groups(&[**group]).is_err();
    let refused = groups.iter().find(is_refused);
    no_id("group", refused.map_or(0, |group| group.as_raw()))
}

fn no_id(kind: &str, id: u32) -> CliError {
    CliError::new(format_args!(
        "the container is to run with {kind} id {id}, which has no place in this user namespace; \
         have subordinate ids set up (subuid(5), subgid(5), package uidmap), or give --user 0"
    ))
}

//! Entering a container that runs (`plyfs exec`).
//!
//! The container may be hostile by now: what is in its root is what it put there. So nothing of it is run or
//! read before the last step, and the process that enters cannot be looked into (`child::shut_off`).

use std::collections::HashSet;
use std::os::fd::{AsFd, RawFd};
use std::path::Path;

use oci_spec::runtime::{LinuxCapabilities, Process, UserBuilder};
use plyfs_sys::process::take_inherited;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::accounts;
use super::console::Console;
use super::namespaces::Namespace;
use super::report::Report;
use super::root::{Root, openat2};
use crate::error::{Context, Result};
use crate::oci::user::Identity;

/// Takes over the descriptors of namespaces that an order names.
pub(super) fn take(namespaces: &[(RawFd, u32)]) -> Result<Vec<Namespace>> {
    let take = |(number, kind): &(RawFd, u32)| {
        let fd = take_inherited(*number).context("take over a descriptor")?;
        let kind = UnshareFlags::from_bits_retain(*kind);
        Ok(Namespace { kind, fd })
    };
    namespaces.iter().map(take).collect()
}

/// Enters namespaces, in the order of [`KINDS`](super::namespaces::KINDS): power over the others comes with that of users.
/// Only children of this process are in that of pids.
pub(super) fn enter(namespaces: Vec<Namespace>) -> Result {
    // The caller's groups are none of the container's. Without power over groups here they can be left only
    // inside, if at all.
    match rustix::thread::set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).context("leave supplementary groups"),
    }
    for Namespace { kind, fd } in namespaces {
        let kind = ThreadNameSpaceType::from_bits_retain(kind.bits());
        move_into_thread_name_spaces(fd.as_fd(), kind).context("enter the container")?;
    }
    Ok(())
}

/// In the container: what is to run, as whom, and its terminal. `terminal` is where to report that, if there
/// is to be one.
pub(super) fn prepare(
    process: &Process,
    user: Option<&str>,
    terminal: Option<&Report>,
) -> Result<(Process, Option<Console>)> {
    let mut process = process.clone();
    if let Some(user) = user {
        let identity = accounts::identity(&Root::open(Path::new("/"))?, user)?;
        become_user(&mut process, identity)?;
    }
    let Some(report) = terminal else {
        return Ok((process, None));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let dev = openat2(
        CWD.as_fd(),
        Path::new("/dev"),
        flags,
        Mode::empty(),
        resolve,
    );
    let dev = dev.context("open /dev in the container")?;
    let console = Console::open(dev, report, process.user().uid())?;
    Ok((process, Some(console)))
}

/// Root has what the container grants; another user than the container's own has nothing.
fn become_user(process: &mut Process, identity: Identity) -> Result {
    let is_same = process.user().uid() == identity.uid;
    if !is_same {
        if let Some(mut all) = process.capabilities().clone() {
            let own = match identity.uid {
                0 => all.bounding().clone(),
                _ => Some(HashSet::new()),
            };
            set_own(&mut all, own);
            process.set_capabilities(Some(all));
        }
        let home = format!("HOME={}", identity.home);
        let mut environment = process.env().clone().unwrap_or_default();
        environment.retain(|pair| !pair.starts_with("HOME="));
        environment.push(home);
        process.set_env(Some(environment));
    }
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.groups)
        .umask(process.user().umask().unwrap_or(0o022))
        .build()
        .context("describe the user")?;
    process.set_user(user);
    Ok(())
}

fn set_own(all: &mut LinuxCapabilities, own: Option<oci_spec::runtime::Capabilities>) {
    all.set_effective(own.clone());
    all.set_permitted(own);
    all.set_inheritable(Some(HashSet::new()));
    all.set_ambient(Some(HashSet::new()));
}

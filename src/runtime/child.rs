//! This program, executed once more where nothing can change it ([`super::sealed`]), on its way into a
//! container.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use plyfs_sys::mount::{Change, change};
use plyfs_sys::process::{close_inherited, take_inherited, unshare};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;

use super::bond::Bond;
use super::console::Console;
use super::order::{Order, Task};
use super::program::Program;
use super::report::Report;
use super::root::{Links, Root};
use super::{devices, hide, join, mounts};
use crate::failure::{Doing, Failure, Outcome};

/// The name by which the copy is called, so that it knows what it is.
pub(crate) const NAME: &str = "plyfs-container";

/// Does what an order says. The number of its descriptor is the only argument.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> Outcome {
    let number = arguments.next();
    let number = number.and_then(|number| number.to_str()?.parse().ok());
    let order = number.and_then(|number| take_inherited(number).ok());
    let order = order.ok_or_else(|| {
        Failure::new("this name is for plyfs itself, when it starts a container; call it plyfs")
    })?;
    let order = Order::read(order)?;
    let take = |number| take_inherited(number).doing("take over a descriptor");
    let bond = Bond::new(take(order.bond)?);
    let mut report = Report::new(take(order.report)?);
    let socket = order.console.map(take).transpose()?;
    let prepared = shut_off(&bond, &order.task).and_then(|container| match &order.task {
        Task::Start { spec, .. } => start(spec, socket),
        Task::Join {
            process,
            user,
            namespaces,
            ..
        } => {
            let container = container.ok_or_else(|| Failure::new("no container was given"))?;
            let namespaces = UnshareFlags::from_bits_retain(*namespaces);
            join::enter(&container, namespaces, &mut report)?;
            // What binds a process to its parent is not its child's (prctl(2)).
            bond.tie()?;
            join::prepare(process, user.as_deref(), socket)
        }
    });
    let failure = match prepared {
        Ok((process, console)) => {
            let linux = order.task.spec().linux().as_ref();
            let program = Program {
                process: &process,
                seccomp: linux.and_then(|linux| linux.seccomp().as_ref()),
                console,
                bond: &bond,
                init: matches!(order.task, Task::Start { init: true, .. }),
            };
            program.execute(report)
        }
        Err(failure) => failure,
    };
    report.failure(&failure);
    std::process::exit(failure.status().into())
}

/// Cuts what ties this process to the caller: its descriptors, its keys, its session; and lets no process of
/// a container look into this one (CVE-2016-9962). The descriptor of a container to join, if there is one.
fn shut_off(bond: &Bond, task: &Task) -> Outcome<Option<OwnedFd>> {
    let container = match task {
        Task::Join { container, .. } => {
            Some(take_inherited(*container).doing("take over a descriptor")?)
        }
        Task::Start { .. } => None,
    };
    close_inherited(None).doing("close descriptors")?;
    bond.tie()?;
    // The kernel calls what is executed by a descriptor by its number.
    rustix::thread::set_name(c"plyfs-init").doing("name the process")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing("hide from other processes")?;
    match plyfs_sys::keyring::join_new_session() {
        // A kernel without keys has none to give away.
        Ok(()) | Err(Errno::NOSYS) => {}
        // A filter of a container that plyfs runs in. Its keys are not the machine's.
        Err(Errno::PERM) => log::debug!("cannot leave the session keyring"),
        Err(errno) => return Err(errno).doing("leave the session keyring"),
    }
    rustix::process::setsid().doing("start a session")?;
    Ok(container)
}

/// Makes the container around this process, and its root the root of this process; what is to run in it.
fn start(spec: &Spec, socket: Option<OwnedFd>) -> Outcome<(Process, Option<Console>)> {
    let lacking = |what: &str| Failure::new(format_args!("the configuration has no {what}"));
    let linux = spec.linux().as_ref().ok_or_else(|| lacking("linux"))?;
    let root = spec.root().as_ref().ok_or_else(|| lacking("root"))?;
    let process = spec.process().as_ref().ok_or_else(|| lacking("process"))?;
    enter_namespaces(linux)?;
    if let Some(name) = spec.hostname() {
        rustix::system::sethostname(name.as_bytes()).doing("set the host name")?;
    }
    let rootfs = Root::open(root.path())?;
    let nodev = Change {
        nodev: Some(true),
        ..Change::default()
    };
    change(rootfs.dir(), nodev, false).doing("take devices from the image")?;
    mounts::make(&rootfs, spec.mounts().as_deref().unwrap_or_default())?;
    if has_own_dev(spec) {
        devices::make(&rootfs)?;
    }
    let console = match socket {
        Some(socket) => {
            let dev = rootfs.find(Path::new("/dev"), Links::Refuse);
            let dev = dev.doing("open /dev in the container")?;
            let console = Console::open(dev, socket, process.user().uid())?;
            console.show(&rootfs)?;
            Some(console)
        }
        None => None,
    };
    hide::mask(&rootfs, linux.masked_paths().as_deref().unwrap_or_default())?;
    hide::make_read_only(
        &rootfs,
        linux.readonly_paths().as_deref().unwrap_or_default(),
    )?;
    if root.readonly() == Some(true) {
        let read_only = Change {
            read_only: Some(true),
            ..Change::default()
        };
        change(rootfs.dir(), read_only, false).doing("make the root read-only")?;
    }
    become_root(&rootfs)?;
    Ok((process.clone(), console))
}

/// Whether /dev is a file system of the container's own. In a directory of the user's nothing is made, which
/// would stay there.
fn has_own_dev(spec: &Spec) -> bool {
    let mut mounts = spec.mounts().iter().flatten().rev();
    let dev = mounts.find(|mount| mount.destination() == Path::new("/dev"));
    dev.is_some_and(|mount| mount.typ().as_deref() == Some("tmpfs"))
}

/// Enters the namespaces of a configuration, but for that of pids, in which this process is from the
/// beginning. What is mounted on the machine later is still seen, and nothing mounted here is seen there.
fn enter_namespaces(linux: &Linux) -> Outcome {
    let has = |kind| {
        let mut all = linux.namespaces().iter().flatten();
        all.any(|namespace| namespace.typ() == kind)
    };
    // One by one: of several at once a failure may leave some behind (CVE-2026-43472).
    for (kind, flag) in [
        (LinuxNamespaceType::Mount, UnshareFlags::NEWNS),
        (LinuxNamespaceType::Uts, UnshareFlags::NEWUTS),
        (LinuxNamespaceType::Ipc, UnshareFlags::NEWIPC),
        (LinuxNamespaceType::Cgroup, UnshareFlags::NEWCGROUP),
        (LinuxNamespaceType::Network, UnshareFlags::NEWNET),
    ] {
        if has(kind) {
            unshare(flag).doing(format_args!("make a {kind} namespace"))?;
        }
    }
    if has(LinuxNamespaceType::Network) {
        plyfs_sys::network::raise_loopback().doing("switch the loopback device on")?;
    }
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).doing("make mounts private")
}

/// Makes it the root of this process, and the former root unreachable (pivot_root(2)).
fn become_root(rootfs: &Root) -> Outcome {
    rustix::process::fchdir(rootfs.dir()).doing("change to the container's root")?;
    rustix::process::pivot_root(".", ".").doing("change the root")?;
    // Now the former root is stacked on the new one.
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing("leave the former root")?;
    rustix::process::chdir("/").doing("change to /")
}

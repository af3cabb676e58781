//! This program, executed once more where nothing can change it ([`super::sealed`]), on its way into a
//! container.

use std::ffi::{CStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use plyfs_sys::mount::{Change, change};
use plyfs_sys::process::{Fork, close_inherited, fork_into, take_inherited, unshare};
use rustix::fs::{Mode, OFlags};
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
use super::{devices, hide, join, mounts, namespaces, parent};
use crate::error::{CliError, Context, Result};

/// The name by which the copy is called, so that it knows what it is.
pub(crate) const NAME: &str = "plyfs-container";

/// Does what an order says. The number of its descriptor is the only argument.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> Result {
    let number = arguments.next();
    let number = number.and_then(|number| number.to_str()?.parse().ok());
    let order = number.and_then(|number| take_inherited(number).ok());
    let order = order.ok_or_else(|| {
        CliError::new("this name is for plyfs itself, when it starts a container; call it plyfs")
    })?;
    let order = Order::read(order)?;
    let take = |number| take_inherited(number).context("take over a descriptor");
    let bond = Bond::new(take(order.bond)?);
    let report = Report::new(take(order.report)?);
    let on_the_way = Way {
        order: &order,
        bond: &bond,
        report: &report,
    };
    match on_the_way.split() {
        Ok((Fork::Parent(child), null)) => parent::keep(child, &null, &bond, report),
        Ok((Fork::Child, _)) => {}
        Err(failure) => report.end(&failure),
    }
    let failure = match on_the_way.prepare() {
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
    report.end(&failure)
}

/// The way into a container.
struct Way<'a> {
    order: &'a Order,
    bond: &'a Bond,
    report: &'a Report,
}

impl Way<'_> {
    /// Cuts what ties this process to the caller, and starts the child that goes on into the container. The
    /// parent stays outside. Also returns /dev/null of the machine.
    fn split(&self) -> Result<(Fork, OwnedFd)> {
        const DOING: &str = "start a process in the container";
        let entered = match &self.order.task {
            Task::Join { namespaces, .. } => Some(join::take(namespaces)?),
            Task::Start { .. } => None,
        };
        let null = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", null, Mode::empty()).context("open /dev/null")?;
        shut_off()?;
        let made = if let Some(entered) = entered {
            join::enter(entered)?;
            UnshareFlags::empty()
        } else {
            UnshareFlags::NEWPID
        };
        Ok((fork_into(made).context(DOING)?, null))
    }

    /// In the child: makes or enters the container; what is to run in it.
    fn prepare(&self) -> Result<(Process, Option<Console>)> {
        // What ties a process to its parent is not its child's (prctl(2)).
        self.bond.tie()?;
        name_process(c"plyfs-init")?;
        rustix::process::setsid().context("start a session")?;
        let terminal = self.order.terminal.then_some(self.report);
        match &self.order.task {
            Task::Start { spec, .. } => start(spec, self.report, terminal),
            Task::Join { process, user, .. } => join::prepare(process, user.as_deref(), terminal),
        }
    }
}

/// Cuts what ties this process to the caller: its descriptors, its keys, its session; and lets no process of
/// a container look into this one (CVE-2016-9962).
fn shut_off() -> Result {
    close_inherited(None).context("close descriptors")?;
    name_process(c"plyfs-parent")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("hide from other processes")?;
    match plyfs_sys::keyring::join_new_session() {
        // A kernel without keys has none to give away.
        Ok(()) | Err(Errno::NOSYS) => {}
        // A filter of a container that plyfs runs in. Its keys are not the machine's.
        Err(Errno::PERM) => log::debug!("cannot leave the session keyring"),
        Err(errno) => return Err(errno).context("leave the session keyring"),
    }
    rustix::process::setsid()
        .map(drop)
        .context("start a session")
}

/// The kernel calls what is executed by a descriptor by its number.
fn name_process(name: &CStr) -> Result {
    rustix::thread::set_name(name).context("name the process")
}

/// Makes the container around this process, and its root the root of this process; what is to run in it.
/// `terminal` is where to report the terminal, if it is to have one.
fn start(
    spec: &Spec,
    report: &Report,
    terminal: Option<&Report>,
) -> Result<(Process, Option<Console>)> {
    let lacking = |what: &str| CliError::new(format_args!("the configuration has no {what}"));
    let linux = spec.linux().as_ref().ok_or_else(|| lacking("linux"))?;
    let root = spec.root().as_ref().ok_or_else(|| lacking("root"))?;
    let process = spec.process().as_ref().ok_or_else(|| lacking("process"))?;
    enter_namespaces(linux)?;
    report.namespaces(namespaces::of("self").context("look at namespaces")?)?;
    if let Some(name) = spec.hostname() {
        rustix::system::sethostname(name.as_bytes()).context("set the host name")?;
    }
    let rootfs = Root::open(root.path())?;
    let nodev = Change {
        nodev: Some(true),
        ..Change::default()
    };
    change(rootfs.dir(), nodev, false).context("take devices from the image")?;
    mounts::make(&rootfs, spec.mounts().as_deref().unwrap_or_default())?;
    if has_own_dev(spec) {
        devices::make(&rootfs)?;
    }
    let console = match terminal {
        Some(report) => {
            let dev = rootfs.find(Path::new("/dev"), Links::Refuse);
            let dev = dev.context("open /dev in the container")?;
            let console = Console::open(dev, report, process.user().uid())?;
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
        change(rootfs.dir(), read_only, false).context("make the root read-only")?;
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
fn enter_namespaces(linux: &Linux) -> Result {
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
            unshare(flag).context(format_args!("make a {kind} namespace"))?;
        }
    }
    if has(LinuxNamespaceType::Network) {
        plyfs_sys::network::raise_loopback().context("switch the loopback device on")?;
    }
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).context("make mounts private")
}

/// Makes it the root of this process, and the former root unreachable (pivot_root(2)).
fn become_root(rootfs: &Root) -> Result {
    rustix::process::fchdir(rootfs.dir()).context("change to the container's root")?;
    rustix::process::pivot_root(".", ".").context("change the root")?;
    // Now the former root is stacked on the new one.
    rustix::mount::unmount(".", UnmountFlags::DETACH).context("leave the former root")?;
    rustix::process::chdir("/").context("change to /")
}

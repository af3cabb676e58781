//! The process that serves a mount, or keeps one that the kernel serves.
//!
//! - A command that only mounts makes the mount itself and reports errors itself. Then it ends, and a child goes
//!   on to serve the mount ([`daemonize`]): a caller that waits for the command does not wait for the child.
//! - A command that uses the mount itself starts a child that mounts and serves ([`spawn`]). The child reports
//!   to its parent over a pipe that the mount can be used, or why it cannot. The parent unmounts. The child
//!   unmounts only when the parent has ended, and not on a signal: a signal that reaches all processes of
//!   the command would otherwise take the mount away from the program that uses it.
//!
//! Both fork while the process has one thread.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plyfs_fs::{Config, MountError, Overlay};
use plyfs_store::LiveEntry;
use plyfs_sys::process::{Fork, SignalQueue, fork, is_ignored};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::CapabilitySet;

use super::choose::{self, Backend};
use super::fuse_mount;
use super::inherited;
use super::kernel_overlay::{self, Mounted};
use super::plan::Plan;
use super::serving::{Device, Serving};
use crate::error::{CliError, Context, Result};
use crate::{namespace, pidfd};

/// Signals that ask a daemon to end.
const ENDING: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

/// What a daemon writes to its parent when the mount can be used. Anything else is the reason why it cannot.
const READY: &[u8] = b"\0";

/// The process that waits until the mount can be used.
enum Caller<'a> {
    /// None: this process serves the mount, and makes the announcement when the mount can be used.
    Foreground(Announce<'a>),
    /// One that waits for this process to end.
    OfThisProcess(Announce<'a>),
    /// The parent, which waits for a report over a pipe.
    Parent(Parent),
}

/// The process that started a daemon, and for which it serves.
struct Parent {
    /// Its end can be waited for (pidfd_open(2)), also in a pid namespace where it has no number. None when the
    /// thread that waits has it.
    process: Option<OwnedFd>,
    /// A pipe, until the mount can be used.
    tell: Option<File>,
}

/// A daemon that was started for the calling process.
pub(crate) struct Daemon {
    pub(crate) pid: Pid,
    /// The lock of the plan. This process holds it as well, in case the daemon is killed.
    pub(crate) hold: Option<Box<dyn std::any::Any>>,
}

/// Prints what the command prints once the mount can be used.
pub(crate) type Announce<'a> = &'a dyn Fn() -> Result;

impl Caller<'_> {
    /// To be called when the mount exists and this process still has one thread. The process that returns from
    /// this may be a child of the one that called it.
    ///
    /// The command ends when what this returns is dropped: by then its files must name the process that goes on.
    fn mounted(&self, signals: &SignalQueue) -> Result<Option<OwnedFd>> {
        if let Some(signal) = signals.pending().context("look for signals")? {
            return Err(CliError::new(format_args!("ended by {signal:?}")));
        }
        match self {
            Self::Parent(_) => Ok(None),
            Self::Foreground(announce) => announce().map(|()| None),
            Self::OfThisProcess(announce) => {
                announce()?;
                leave_to_child().map(Some)
            }
        }
    }

    /// Announces to other commands that this process serves the mount, unless the parent unmounts it.
    fn announce_server(&self, target: &Path) -> Option<Serving> {
        match self {
            Self::Parent(_) => None,
            Self::Foreground(_) | Self::OfThisProcess(_) => {
                Serving::announce(Device::mounted_on(target)?)
            }
        }
    }

    /// Reports to the parent that the mount can be used.
    fn ready(&mut self) -> Result {
        let Self::Parent(parent) = self else {
            return Ok(());
        };
        let Some(mut tell) = parent.tell.take() else {
            return Ok(());
        };
        leave_terminal(&open_null()?)?;
        tell.write_all(READY).context("report to the parent")
    }

    /// Takes the process that unmounts, if it is another one.
    fn take_parent(&mut self) -> Option<OwnedFd> {
        match self {
            Self::Parent(parent) => parent.process.take(),
            Self::Foreground(_) | Self::OfThisProcess(_) => None,
        }
    }
}

/// Goes on in a child with a process group of its own. This process ends with success when the child drops what this
/// returns.
fn leave_to_child() -> Result<OwnedFd> {
    let null = open_null()?;
    let caller_waits = plyfs_sys::process::daemonize().context("start the daemon")?;
    leave_terminal(&null)?;
    Ok(caller_waits)
}

/// Serves a mount in this process until it is unmounted. Calls `announce` when the mount can be used.
pub(crate) fn run_foreground(plan: Plan, announce: Announce<'_>) -> Result {
    serve(plan, &mut Caller::Foreground(announce))
}

/// Mounts, calls `announce` and ends this process, while a child serves the mount. Returns only if it cannot
/// mount, with the reason.
pub(crate) fn daemonize(plan: Plan, announce: Announce<'_>) -> Result {
    let caller = rustix::process::getpid();
    let served = serve(plan, &mut Caller::OfThisProcess(announce));
    if rustix::process::getpid() == caller {
        return served;
    }
    // This is the child; the process that called has ended.
    std::process::exit(i32::from(served.is_err()))
}

/// Starts a daemon that ends with this process, and returns when the mount can be used.
pub(crate) fn spawn(mut plan: Plan) -> Result<Daemon> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (listen, tell) = rustix::pipe::pipe_with(flags).context("make a pipe")?;
    let itself = rustix::process::getpid();
    let process = rustix::process::pidfd_open(itself, PidfdFlags::empty());
    let process = process.context("open this process (pidfd_open)")?;
    match fork().context("start the daemon")? {
        Fork::Parent(pid) => {
            let hold = plan.hold.take();
            drop((tell, plan));
            let mut said = Vec::new();
            File::from(listen)
                .read_to_end(&mut said)
                .context("hear from the daemon")?;
            match said.as_slice() {
                READY => Ok(Daemon { pid, hold }),
                b"" => Err(CliError::new("the daemon ended before the mount was ready")),
                why => Err(CliError::new(String::from_utf8_lossy(why))),
            }
        }
        Fork::Child => {
            drop(listen);
            let parent = Parent {
                process: Some(process),
                tell: Some(tell.into()),
            };
            std::process::exit(i32::from(run_child(plan, parent).is_err()));
        }
    }
}

fn run_child(plan: Plan, parent: Parent) -> Result {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .context("bind the daemon to its parent")?;
    leave_group().context("start a process group")?;
    let mut caller = Caller::Parent(parent);
    let served = serve(plan, &mut caller);
    if let (
        Err(failure),
        Caller::Parent(Parent {
            tell: Some(mut tell),
            ..
        }),
    ) = (&served, caller)
    {
        tell.write_all(failure.to_string().as_bytes())
            .context("report to the parent")?;
    }
    served
}

/// Gives a daemon a process group of its own: an interrupt or the end of the terminal is for the command,
/// not for the mount. But not a session of its own: the scheduler takes what is in one session for one task
/// (`sched_autogroup_enabled`, sched(7)), and a request that has to wake a process of another takes
/// up to twice as long.
fn leave_group() -> rustix::io::Result<()> {
    rustix::process::setpgid(None, None)
}

fn open_null() -> Result<File> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.context("open /dev/null")
}

/// Closes standard input, output and error: a caller may wait for the end of these pipes.
fn leave_terminal(null: &File) -> Result {
    rustix::stdio::dup2_stdin(null).context("close standard input")?;
    rustix::stdio::dup2_stdout(null).context("close standard output")?;
    rustix::stdio::dup2_stderr(null).context("close standard error")
}

fn serve(plan: Plan, caller: &mut Caller<'_>) -> Result {
    inherited::reset();
    plyfs_sys::memory::use_one_heap();
    // The working directory of the daemon would keep the file system it lies in from being unmounted.
    rustix::process::chdir("/").context("change to /")?;
    // Block the signals before there are other threads, which would get them otherwise, and before there is
    // a mount, which a signal would leave behind.
    let signals = SignalQueue::block(&ENDING).context("wait for signals")?;
    match choose::choose(&plan)? {
        Backend::Kernel(mounted, locks) => keep(plan, &mounted, *locks, signals, caller),
        Backend::Fuse => serve_fuse(plan, signals, caller),
    }
}

/// Keeps a mount of the kernel's overlay until it is gone.
fn keep(
    plan: Plan,
    mounted: &Mounted,
    locks: Overlay,
    signals: SignalQueue,
    caller: &mut Caller<'_>,
) -> Result {
    let target = plan.target.path;
    let mut live = plan.register.and_then(|register| register("kernel"));
    let serving = caller.announce_server(&target);
    let prepare = || {
        let command = caller.mounted(&signals)?;
        take_over(&mut live, serving.as_ref());
        drop(command);
        unmount_when_asked(signals, Some(target.clone()), caller.take_parent());
        caller.ready()
    };
    let kept = match prepare() {
        Ok(()) => {
            let ended = kernel_overlay::wait_for_end(mounted);
            // Collecting an image may take long, and the mount is gone.
            serving.iter().for_each(Serving::ending);
            ended
        }
        Err(failure) => {
            unmount_after_failure(&target);
            Err(failure)
        }
    };
    // Drop the live record before the lock: the next user of the container takes the lock and writes a live
    // record of the same name.
    drop(live);
    drop((locks, plan.hold));
    if let Some(after) = plan.after {
        after();
    }
    if let Some(serving) = serving {
        serving.end();
    }
    kept
}

/// Writes into the live record and the state file of a mount that this process serves it. It may be a child of the one that mounted.
fn take_over(live: &mut Option<LiveEntry>, serving: Option<&Serving>) {
    if let Some(serving) = serving {
        serving.take_over();
    }
    if let Some(Err(error)) = live.as_mut().map(LiveEntry::take_over) {
        log::warn!("cannot change a live record: {error}");
    }
}

fn serve_fuse(mut plan: Plan, signals: SignalQueue, caller: &mut Caller<'_>) -> Result {
    require_for_passthrough(&plan)?;
    // There is no mount yet that a signal could leave behind, and opening the layers may take long.
    signals.unblock().context("let signals through")?;
    let overlay = Arc::new(open_when_free(&plan.overlay, plan.patience)?);
    let signals = SignalQueue::block(&ENDING).context("wait for signals")?;
    obey_limits()?;
    let device = fuse_mount::mount(&plan.target)?;
    // A program that has made the mount itself unmounts it itself.
    let is_ours = plan.target.device.is_none();
    let target = is_ours.then(|| plan.target.path.clone());
    let mut live = plan.register.take().and_then(|register| register("fuse"));
    let serving = target
        .as_deref()
        .and_then(|target| caller.announce_server(target));
    let session = plyfs_fuse::Session::start(overlay, device, &plan.transport);
    let started = session
        .context("start the FUSE session")
        .and_then(|session| {
            let command = caller.mounted(&signals)?;
            take_over(&mut live, serving.as_ref());
            drop(command);
            // Not before `mounted`, which may fork: the kernel gives the child a table for the open descriptors only.
            if let Err(errno) = plyfs_fs::reserve_descriptors() {
                log::debug!("cannot enlarge the table of descriptors: {errno}");
            }
            unmount_when_asked(signals, target.clone(), caller.take_parent());
            caller.ready()?;
            Ok(session)
        });
    let served = started.and_then(|session| {
        let unmounted = || {
            if let Some(serving) = &serving {
                serving.ending();
            }
        };
        session.run(unmounted).context("serve the mount")
    });
    if served.is_err()
        && let Some(target) = &target
    {
        unmount_after_failure(target);
    }
    drop(live);
    drop(plan.hold);
    if let Some(after) = plan.after {
        after();
    }
    if let Some(serving) = serving {
        serving.end();
    }
    served
}

/// Opens the layers. Waits up to `patience` for the daemon of another mount to release them.
pub(crate) fn open_when_free(overlay: &Config, patience: Duration) -> Result<Overlay> {
    let start = Instant::now();
    loop {
        match Overlay::open(overlay) {
            Err(MountError::InUse { .. }) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return Ok(opened?),
        }
    }
}

/// Unmounts when a signal asks the daemon to end, and thereby ends the session. A daemon that cannot start a
/// thread for this warns and goes on serving: the caller may already know that the mount can be used.
///
/// A `parent` unmounts by itself. With one, signals stay blocked, and this unmounts only when the parent ends.
fn unmount_when_asked(signals: SignalQueue, target: Option<PathBuf>, parent: Option<OwnedFd>) {
    let wait = move || match (parent, target) {
        (Some(parent), Some(target)) => match pidfd::wait_for_end(&parent) {
            Ok(()) => unmount_after_failure(&target),
            Err(error) => log::error!("cannot wait for the parent process: {error}"),
        },
        (_, target) => unmount_on_signals(&signals, target.as_deref()),
    };
    let thread = std::thread::Builder::new().name("plyfs-signals".to_owned());
    if let Err(error) = thread.spawn(wait) {
        log::warn!(
            "cannot start the thread that waits for signals; signals will not unmount: {error}"
        );
    }
}

fn unmount_on_signals(signals: &SignalQueue, target: Option<&Path>) {
    loop {
        match (signals.wait(), target) {
            // Do not end on a signal that the daemon was started to ignore: nohup(1) sets SIGHUP to be
            // ignored, and a shell sets SIGINT so for a command in the background.
            (Ok(received), _) if received.signal != Signal::TERM && is_ignored(received.signal) => {
            }
            (Ok(_), Some(target)) => unmount_after_failure(target),
            (Ok(_), None) => log::warn!(
                "ignoring a signal to end: another program made this mount; unmount it to end the daemon"
            ),
            (Err(error), _) => return log::error!("cannot wait for signals: {error}"),
        }
    }
}

fn unmount_after_failure(target: &Path) {
    if let Err(failure) = fuse_mount::unmount(target, true) {
        log::error!("{failure}");
    }
}

/// Refuses `passthrough=` where the kernel or the overlay does not allow it.
fn require_for_passthrough(plan: &Plan) -> Result {
    match plan.transport.passthrough {
        // `ro` is not enough: a later remount could make the mount writable.
        true if plan.overlay.upper.is_some() => Err(CliError::new(
            "passthrough= is for mounts without an upper directory; leave upperdir= away, or add --ro",
        )),
        true if !namespace::is_real_root() => Err(CliError::new(
            "passthrough= is for the superuser of the machine; leave it away",
        )),
        _ => Ok(()),
    }
}

/// Gives up CAP_SYS_RESOURCE, which allows to write beyond quotas and into blocks reserved for the superuser:
/// the daemon writes the data of other users, whose limits hold. The kernel's overlay drops it, too
/// (`ovl_fill_super`). Threads that start later inherit the capabilities of this one.
fn obey_limits() -> Result {
    let mut sets = rustix::thread::capabilities(None).context("read capabilities")?;
    if sets.effective.contains(CapabilitySet::SYS_RESOURCE) {
        sets.effective.remove(CapabilitySet::SYS_RESOURCE);
        rustix::thread::set_capabilities(None, sets).context("set capabilities")?;
    }
    Ok(())
}

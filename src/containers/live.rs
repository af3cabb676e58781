//! Mounts and running containers of the store, in whatever namespace they are: naming them, and ending
//! them.
//!
//! Each has a record that names the process serving it (`plyfs_store::LiveRecord`). That process is asked
//! by a signal: kill(2) needs the same user only, not the same namespace. The daemon of a mount unmounts
//! on SIGTERM where it is mounted, and `plyfs run` passes signals on to its program.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use plyfs_store::{ContainerName, LiveEntry, LiveKind, LiveRecord, LiveRequest, Store};
use plyfs_sys::process::{Fork, fork};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, pidfd_send_signal, waitpid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::error::{CliError, Context, Result};
use crate::mount::plan::Register;
use crate::{namespace, output, pidfd};

/// Signals that `plyfs run` passes on to its program.
pub(crate) const PASSED_ON: [Signal; 8] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::CONT,
];

/// How long a process may take to end after it was asked to, before it is killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long one process may take to take over from another, or to end after it.
const SETTLING: Duration = Duration::from_secs(5);

/// How long a process may take to end that was killed.
const DYING: Duration = Duration::from_secs(10);

/// Registers a mount or a running container. If the store is not writable there is no record, and other commands
/// do not see the mount or container.
pub(crate) fn register(store: &Store, what: LiveRequest) -> Option<LiveEntry> {
    match store.register(what) {
        Ok(entry) => Some(entry),
        Err(error) => {
            let level = match error.errno() {
                Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => log::Level::Debug,
                _ => log::Level::Warn,
            };
            log::log!(level, "cannot keep a live record: {error}");
            None
        }
    }
}

/// Registers a mount when it is made and its backend is known.
pub(crate) fn on_mount(store: &Store, what: LiveRequest) -> Register {
    let store = store.clone();
    Box::new(move |backend| {
        let backend = Some(backend.to_owned());
        register(&store, LiveRequest { backend, ..what })
    })
}

/// Whether it is in the mount namespace in which this command was started.
pub(crate) fn is_here(record: &LiveRecord) -> bool {
    namespace::mounts_of_caller() == Some(record.namespace.mnt)
}

/// Describes a record and its process, as part of a sentence.
pub(crate) fn describe(record: &LiveRecord) -> String {
    let pid = record.process.pid;
    let process = if record.is_in_own_pid_namespace() {
        format!("process {pid}")
    } else {
        format!("process {pid} of another pid namespace")
    };
    let elsewhere = if is_here(record) {
        ""
    } else {
        " in another mount namespace"
    };
    match (record.what.kind, record.what.command.first()) {
        (LiveKind::Mount, _) => format!("mounted on {} by {process}{elsewhere}", target(record)),
        (LiveKind::Run, Some(program)) => {
            format!("{process} runs {} in it", output::plain(program))
        }
        (LiveKind::Run, None) => format!("{process} runs it"),
    }
}

/// The mount point, escaped for messages.
pub(crate) fn target(record: &LiveRecord) -> String {
    let target = record.what.target.as_deref().unwrap_or("?".as_ref());
    output::plain(&target.display().to_string())
}

/// The command that ends it.
pub(crate) fn remedy(record: &LiveRecord) -> String {
    match record.what.kind {
        LiveKind::Mount => format!("plyfs umount {}", record.id),
        LiveKind::Run => format!("plyfs stop {}", record.id),
    }
}

/// Why something that is live is no container that could be mounted, compared or committed.
pub(crate) fn not_kept(record: &LiveRecord) -> CliError {
    let (id, image) = (&record.id, &record.what.image);
    match record.what.temporary {
        true => CliError::new(format_args!(
            "the container \"{id}\" is temporary ({}): it is removed when that ends; \"plyfs exec\" and \"plyfs \
             stop\" reach it, and with --keep or --container from the start \"plyfs run\" keeps what is changed",
            describe(record)
        )),
        false => CliError::new(format_args!(
            "\"{id}\" is no container, but the image {image}, {}",
            describe(record)
        )),
    }
}

/// Why nothing can be done with a container that is in use. `or` is what else there is to do.
pub(crate) fn in_use(store: &Store, name: &ContainerName, or: &str) -> CliError {
    match store.live_of(name.as_str()) {
        Ok(Some(record)) => CliError::new(format_args!(
            "the container \"{name}\" is in use: {}; end that first (\"{}\"){or}",
            describe(&record),
            remedy(&record)
        )),
        // A commit, or a mount that could not be registered.
        _ => CliError::new(format_args!(
            "the container \"{name}\" is in use; unmount it first"
        )),
    }
}

/// The live record of a name, whose process can be signalled.
pub(crate) fn find(store: &Store, name: &str) -> Result<Option<LiveRecord>> {
    match store.live_of(name)? {
        Some(record) => settled(store, record),
        None => Ok(None),
    }
}

/// Waits until the process in a record is there, if another one is about to take over from it, or until
/// the record is gone.
pub(crate) fn settled(store: &Store, mut record: LiveRecord) -> Result<Option<LiveRecord>> {
    let start = Instant::now();
    while record.is_in_own_pid_namespace() && record.open_process().is_none() {
        if start.elapsed() > SETTLING {
            return Err(CliError::new(format_args!(
                "\"{}\" is held by what process {} left when it ended; try again",
                record.id, record.process.pid
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
        match store.live_of(record.id.as_str())? {
            Some(now) => record = now,
            None => return Ok(None),
        }
    }
    Ok(Some(record))
}

/// Sends a signal to the process that serves it. Returns that process; `None` if it has ended.
pub(crate) fn signal(record: &LiveRecord, signal: Signal) -> Result<Option<OwnedFd>> {
    let Some(process) = open(record)? else {
        return Ok(None);
    };
    send(&process, signal).context(format_args!("signal process {}", record.process.pid))?;
    Ok(Some(process))
}

/// The process that serves it; `None` if it has ended.
fn open(record: &LiveRecord) -> Result<Option<OwnedFd>> {
    if !record.is_in_own_pid_namespace() {
        return Err(CliError::new(format_args!(
            "\"{}\" cannot be ended from here: its process {} is in another pid namespace",
            record.id, record.process.pid
        )));
    }
    Ok(record.open_process())
}

/// A process that has ended needs no signal.
fn send(process: &OwnedFd, signal: Signal) -> rustix::io::Result<()> {
    match pidfd_send_signal(process, signal) {
        Err(Errno::SRCH) => Ok(()),
        sent => sent,
    }
}

/// Sends a signal to the first process of a container, from within its user namespace if need be: it may
/// have become a user that is another one outside. Returns whether it was sent.
pub(crate) fn signal_init(record: &LiveRecord, signal: Signal) -> Result<bool> {
    let Some(init) = record.open_init() else {
        return Ok(false);
    };
    match send(&init, signal) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => signal_from_inside(record, &init, signal),
        Err(errno) => Err(errno).context("signal the container"),
    }
}

/// Signals from a child process: a process that has entered a user namespace cannot leave it.
fn signal_from_inside(record: &LiveRecord, init: &OwnedFd, signal: Signal) -> Result<bool> {
    let Some(process) = record.open_process() else {
        return Ok(false);
    };
    match fork().context("start a process")? {
        Fork::Parent(pid) => {
            let ended = waitpid(Some(pid), WaitOptions::empty()).context("wait for a process")?;
            Ok(ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
        }
        Fork::Child => {
            let entered = move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::USER);
            let sent = entered.and_then(|()| send(init, signal));
            std::process::exit(i32::from(sent.is_err()))
        }
    }
}

/// Ends the process of a live record: sends `ask`, and SIGKILL if the process has not ended after `patience`.
pub(crate) fn end(record: &LiveRecord, ask: Signal, patience: Duration) -> Result {
    let Some(process) = ask_to_end(record, ask)? else {
        return Ok(());
    };
    if ends_within(&process, patience)? {
        return Ok(());
    }
    log::warn!(
        "{} did not end within {} s; killing it",
        record.id,
        patience.as_secs()
    );
    // The process that attends to a container still has to unmount.
    if signal_init(record, Signal::KILL)? && ends_within(&process, DYING)? {
        return Ok(());
    }
    send(&process, Signal::KILL).context("kill a process")?;
    if !ends_within(&process, DYING)? {
        return Err(CliError::new(format_args!(
            "process {} does not end, though it was killed",
            record.process.pid
        )));
    }
    Ok(())
}

/// Sends the signal that is to end it. Returns the process that serves it; `None` if that has ended.
fn ask_to_end(record: &LiveRecord, ask: Signal) -> Result<Option<OwnedFd>> {
    if record.what.kind == LiveKind::Run && !is_passed_on(ask) {
        if !signal_init(record, ask)? {
            log::warn!("cannot send {ask:?} to the first process of {}", record.id);
        }
        return open(record);
    }
    signal(record, ask)
}

/// Whether `plyfs run` passes a signal on to its program.
pub(crate) fn is_passed_on(signal: Signal) -> bool {
    PASSED_ON.contains(&signal)
}

/// Waits until a process has ended; returns whether it has before the time was over.
pub(crate) fn ends_within(process: &OwnedFd, time: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        let left = time.saturating_sub(start.elapsed());
        let turn = Timespec::try_from(left).context("wait for a process")?;
        match pidfd::ends_within(process, turn) {
            Err(Errno::INTR) => {}
            ended => return ended.context("wait for a process"),
        }
    }
}

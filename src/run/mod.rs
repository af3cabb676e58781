//! `plyfs run`.
//!
//! Three processes work together. This one becomes root of a user namespace (unless it is root),
//! with a mount namespace of its own, starts the *daemon* that serves the image there, and then the
//! *container*: the first process of a pid namespace, which sets up its file systems, makes the
//! image its root and becomes the image's program. This process passes signals on, waits, unmounts,
//! and ends with the program's exit status.

mod process;
mod rootfs;
mod user;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use plyfs_store::{Container, ImageConfiguration, Store};
use plyfs_sys::process::{Fork, SignalQueue, fork, unshare};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};
use rustix::thread::UnshareFlags;

use crate::cli::RunArgs;
use crate::failure::{Doing, Failure, Outcome};
use crate::mount::backend::Wish;
use crate::mount::options::Options;
use crate::mount::{connection, daemon};
use crate::stack::{self, Subject};
use crate::{namespace, output, storage};
use process::{Bond, Program};
use rootfs::Rootfs;

/// Exit status when a container could not be started, as Podman has it.
pub(crate) const NOT_STARTED: u8 = 125;

/// Signals that are passed on to the container when somebody sends them to this process.
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

/// Runs a command in a container.
pub(crate) fn run(args: &RunArgs, store: Option<&Path>) -> Outcome {
    let status = start(args, store).map_err(|failure| match failure.status() {
        1 => failure.with_status(NOT_STARTED),
        _ => failure,
    })?;
    match status {
        0 => Ok(()),
        status => Err(Failure::silent(status)),
    }
}

fn start(args: &RunArgs, store: Option<&Path>) -> Outcome<u8> {
    // Before the namespace, in which the user would seem to be another.
    let location = storage::location(store)?;
    let backend = Wish::or_environment(args.backend)?;
    if namespace::can_mount() {
        namespace::enter_mounts_only()?;
    } else {
        namespace::enter()?;
    }
    let store = Store::open_existing(location)?;
    let image = store.image(&args.image)?;
    // Before a container is made, which would be kept though there is nothing to run in it.
    let program = program(args, &image.config)?;
    if args.ro {
        let subject = Subject::image_of(&store, image)?;
        return run_in(&store, &subject, &program, backend, false);
    }
    let name = args.container.as_deref();
    if name.is_none() && !args.keep {
        let container = store.temporary_container(&image, storage::ownership_here())?;
        return run_in_container(&store, &container, program, backend);
    }
    let (container, _) = stack::container(&store, name, Some(&args.image))?;
    let status = run_in_container(&store, &container, program, backend);
    if name.is_none() {
        let name = &container.record.name;
        output::complain(&format_args!("the container was kept as {name}"));
    }
    status
}

fn run_in_container(
    store: &Store,
    container: &Container,
    mut program: Program,
    backend: Option<Wish>,
) -> Outcome<u8> {
    program.hostname = container.record.name.to_string();
    let subject = Subject::Container(Box::new(container.clone()));
    run_in(store, &subject, &program, backend, true)
}

/// Mounts, runs the program and unmounts.
fn run_in(
    store: &Store,
    subject: &Subject,
    program: &Program,
    backend: Option<Wish>,
    writable: bool,
) -> Outcome<u8> {
    // The mount is seen in this process's own mount namespace only, so that one serves everybody.
    let root = store.mount_point();
    let options = Options::for_run(backend);
    let plan = stack::plan(store, subject, &options, root.clone(), !writable)?;
    let daemon = daemon::start(plan)?;
    let status = run_process(program, &root, writable);
    let unmounted = connection::unmount(&root, false)
        // Something that the program left behind outside of its pid namespace holds it.
        .or_else(|_| connection::unmount(&root, true));
    let served = waitpid(Some(daemon), WaitOptions::empty()).doing("wait for the daemon");
    unmounted?;
    match served?.and_then(|(_, status)| status.exit_status()) {
        Some(0) => status,
        _ => Err(Failure::new(
            "the daemon that served the container has failed",
        )),
    }
}

/// Starts the container's first process and waits until it ends; its exit status.
fn run_process(program: &Program, root: &Path, writable: bool) -> Outcome<u8> {
    let flags = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    unshare(flags).doing("make namespaces")?;
    let (bond, end) = Bond::new()?;
    match fork().doing("start the container")? {
        Fork::Parent(pid) => {
            let status = attend(pid);
            drop(end);
            status
        }
        Fork::Child => {
            drop(end);
            let failure = become_container(program, &bond, root, writable);
            output::complain(&failure);
            std::process::exit(match failure.status() {
                1 => NOT_STARTED.into(),
                status => status.into(),
            });
        }
    }
}

/// In the container's first process: sets everything up and becomes the program. Returns only why it
/// could not.
fn become_container(program: &Program, bond: &Bond, root: &Path, writable: bool) -> Failure {
    let prepared = || {
        bond.tie()?;
        namespace::enter_mounts_only()?;
        rustix::system::sethostname(program.hostname.as_bytes()).doing("set the host name")?;
        let rootfs = Rootfs::open(root, writable)?;
        rootfs.populate()?;
        rootfs.enter()
    };
    match prepared() {
        Ok(()) => program.execute(bond),
        Err(failure) => failure,
    }
}

/// Passes signals on to a process until it ends; its exit status.
fn attend(child: Pid) -> Outcome<u8> {
    let mut signals = PASSED_ON.to_vec();
    signals.push(Signal::CHILD);
    let queue = SignalQueue::block(&signals).doing("wait for signals")?;
    loop {
        // Before waiting: it may have ended before its signal was blocked.
        let ended = waitpid(Some(child), WaitOptions::NOHANG).doing("wait for the container")?;
        if let Some((_, status)) = ended {
            return Ok(exit_status(status));
        }
        let received = queue.wait().doing("wait for signals")?;
        // What a key at the terminal sends, the container has got by itself.
        if received.signal != Signal::CHILD && received.from_process {
            match rustix::process::kill_process(child, received.signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => log::warn!("cannot pass a signal on: {error}"),
            }
        }
    }
}

/// The exit status that shells give: that of the process, or 128 and the signal that ended it.
fn exit_status(status: WaitStatus) -> u8 {
    let exited = status
        .exit_status()
        .and_then(|code| u8::try_from(code).ok());
    let signalled = status.terminating_signal();
    let signalled = signalled.and_then(|signal| u8::try_from(128 + signal).ok());
    exited.or(signalled).unwrap_or(NOT_STARTED)
}

/// What is to be run: what the image says, with what the arguments replace.
fn program(args: &RunArgs, config: &ImageConfiguration) -> Outcome<Program> {
    let config = config.config().as_ref();
    let words = |list: Option<&Option<Vec<String>>>| -> Vec<OsString> {
        let list = list.and_then(Option::as_ref);
        list.into_iter().flatten().map(OsString::from).collect()
    };
    let text = |field: Option<&Option<String>>| {
        let text = field.and_then(Option::as_ref).cloned();
        text.unwrap_or_default()
    };
    // Another entrypoint makes nothing of the image's arguments.
    let (mut arguments, own_command) = match &args.entrypoint {
        Some(program) if program.is_empty() => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.clone()], Vec::new()),
        None => (
            words(config.map(|config| config.entrypoint())),
            words(config.map(|config| config.cmd())),
        ),
    };
    match args.command.is_empty() {
        true => arguments.extend(own_command),
        false => arguments.extend(args.command.iter().cloned()),
    }
    if arguments.is_empty() {
        return Err(Failure::new(format_args!(
            "the image {} names no command; give one",
            args.image
        )));
    }
    let mut environment = words(config.map(|config| config.env()));
    environment.extend(args.env.iter().filter_map(|pair| variable(pair)));
    let directory = match (&args.workdir, text(config.map(|c| c.working_dir()))) {
        (Some(directory), _) => directory.clone(),
        (None, directory) if directory.is_empty() => PathBuf::from("/"),
        (None, directory) => directory.into(),
    };
    Ok(Program {
        arguments,
        environment,
        directory: Path::new("/").join(directory),
        user: match &args.user {
            Some(user) => user.clone(),
            None => text(config.map(|config| config.user())),
        },
        hostname: "plyfs".to_owned(),
    })
}

/// `NAME=VALUE` as it is; `NAME` with the value it has here, if it has one.
fn variable(pair: &str) -> Option<OsString> {
    if pair.contains('=') {
        return Some(pair.into());
    }
    let value = std::env::var_os(pair)?;
    let mut whole = OsString::from(pair);
    whole.push(OsStr::new("="));
    whole.push(value);
    Some(whole)
}

//! `plyfs stop` and `plyfs kill`.
//!
//! What they print and how they end is as in Podman.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use plyfs_store::{ContainerName, LiveKind, LiveRecord, Store};
use rustix::process::Signal;

use crate::containers::live;
use crate::error::{CliError, Result};
use crate::{mounting, output, stack, storage};

/// Exit status of Podman when it cannot do what was asked.
const FAILED: u8 = 125;

/// Stop containers: ask their programs to end, and kill those that do not
///
/// What is only mounted is unmounted. The names of the containers are printed.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// How long to wait before a container is killed
    #[arg(
        short = 't',
        long = "time",
        visible_alias = "timeout",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    time: u64,
    /// The containers, by name or, if they have none, by what ps shows
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Send a signal to the programs of running containers
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: SignalArg,
    /// The containers, by name or, if they have none, by what ps shows
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// A signal as it is written: `TERM`, `SIGTERM`, `15` or `RTMIN+3`.
#[derive(Debug, Clone, Copy)]
struct SignalArg(Signal);

impl FromStr for SignalArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("there is no signal \"{}\"", output::plain(text));
        if let Ok(number) = text.parse::<i32>() {
            let signal = plyfs_sys::process::signal(number);
            return signal.map(Self).ok_or_else(unknown);
        }
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let mut named = SIGNALS.iter().filter(|(known, _)| *known == name);
        let named = named.next().map(|(_, signal)| *signal);
        named
            .or_else(|| real_time(name))
            .map(Self)
            .ok_or_else(unknown)
    }
}

/// `RTMIN`, `RTMIN+N`, `RTMAX` or `RTMAX-N`.
fn real_time(name: &str) -> Option<Signal> {
    let number = |text: &str, sign| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let range = plyfs_sys::process::real_time_signals();
    let wanted = match name.strip_prefix("RTMIN") {
        Some(above) => range.start() + number(above, '+')?,
        None => range.end() - number(name.strip_prefix("RTMAX")?, '-')?,
    };
    range
        .contains(&wanted)
        .then(|| plyfs_sys::process::signal(wanted))
        .flatten()
}

/// Names of signals without `SIG` (signal(7)).
const SIGNALS: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("IOT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// Stops containers, and prints their names.
pub(crate) fn stop(args: &StopArgs, store: Option<&Path>) -> Result {
    let patience = Duration::from_secs(args.time);
    each(&args.containers, store, |store, name| {
        let Some(record) = live::find(store, name)? else {
            return is_idle(store, name);
        };
        match record.what.kind {
            LiveKind::Mount => mounting::unmount_live(&record, false),
            LiveKind::Run => live::end(&record, stop_signal(&record), patience),
        }
    })
}

/// Sends a signal to containers, and prints their names.
pub(crate) fn kill(args: &KillArgs, store: Option<&Path>) -> Result {
    each(&args.containers, store, |store, name| {
        let not_running = |why: &str| {
            Err(CliError::new(format_args!(
                "the container \"{name}\" {why}; only running containers can be killed"
            )))
        };
        match live::find(store, name)? {
            Some(record) if record.what.kind == LiveKind::Run => send(&record, args.signal.0),
            Some(record) => not_running(&format!("is {}", live::describe(&record))),
            None => is_idle(store, name).and_then(|()| not_running("does not run")),
        }
    })
}

fn send(record: &LiveRecord, signal: Signal) -> Result {
    if live::is_passed_on(signal) {
        return live::signal(record, signal).map(drop);
    }
    if live::signal_init(record, signal)? {
        return Ok(());
    }
    match signal {
        // The first process ends with the one that attends to it.
        Signal::KILL => live::signal(record, signal).map(drop),
        _ => Err(CliError::new(format_args!(
            "the first process of \"{}\" cannot be signalled from this user namespace; send one of \
             the signals that \"plyfs run\" passes on: HUP, INT, QUIT, TERM, USR1, USR2, WINCH, CONT",
            record.id
        ))),
    }
}

/// The signal that asks the program of a container to end.
pub(crate) fn stop_signal(record: &LiveRecord) -> Signal {
    let Some(name) = &record.what.stop_signal else {
        return Signal::TERM;
    };
    match name.parse::<SignalArg>() {
        Ok(signal) => signal.0,
        Err(why) => {
            log::warn!("the image {}: {why}; using SIGTERM", record.what.image);
            Signal::TERM
        }
    }
}

/// Makes sure that there is a container, and that nothing uses it.
fn is_idle(store: &Store, name: &str) -> Result {
    let name: ContainerName = name.parse().map_err(CliError::new)?;
    match store.is_in_use(&name) {
        Ok(false) => Ok(()),
        Ok(true) => Err(CliError::new(format_args!(
            "the container \"{name}\" is in use, and no record says by which process"
        ))),
        Err(error) => Err(stack::container_failure(store, error)),
    }
}

/// Does something to one after another, whatever becomes of the others, and prints the names of those for
/// which it was done.
fn each(
    names: &[String],
    store: Option<&Path>,
    mut act: impl FnMut(&Store, &str) -> Result,
) -> Result {
    let store = storage::open_existing(store).map_err(|failure| failure.with_status(FAILED))?;
    let mut failed: Option<CliError> = None;
    for name in names {
        let done = act(&store, name).and_then(|()| output::write(&format!("{name}\n")));
        if let Err(failure) = done
            && let Some(before) = failed.replace(failure)
        {
            output::complain(&before);
        }
    }
    failed.map_or(Ok(()), |failure| Err(failure.with_status(FAILED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_named_and_numbered() {
        let raw = |text: &str| text.parse::<SignalArg>().map(|signal| signal.0.as_raw());
        for (text, number) in [("TERM", 15), ("sigterm", 15), ("9", 9), ("SIGWINCH", 28)] {
            assert_eq!(raw(text), Ok(number), "{text}");
        }
        // As the C library counts them, which keeps the first two for itself.
        assert_eq!(raw("RTMIN+3"), Ok(37));
        assert_eq!(raw("SIGRTMAX-1"), Ok(63));
        for text in ["", "0", "-1", "65", "NONE", "RTMIN+99", "RTMAX+1", "SIG"] {
            assert!(raw(text).is_err(), "{text}");
        }
    }
}

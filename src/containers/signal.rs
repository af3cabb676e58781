//! Names of signals, and the signal that asks a container to end.

use std::str::FromStr;

use plyfs_store::LiveRecord;
use rustix::process::Signal;

use crate::output;

/// A signal as it is written: `TERM`, `SIGTERM`, `15` or `RTMIN+3`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignalArg(pub(crate) Signal);

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

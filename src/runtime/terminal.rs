//! Between the terminal of the caller and that of a container: what is typed goes in, what is printed comes
//! out, and both have the same size.

use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use super::waiting;
use crate::error::{Context, Result};

/// A container's terminal that is connected to standard input and output, until it is dropped.
pub(crate) struct Relay {
    master: OwnedFd,
    output: Option<Output>,
    /// The settings that the caller's terminal had, if standard input is one.
    settings: Option<Termios>,
}

/// The thread that prints what comes out.
struct Output {
    thread: JoinHandle<()>,
    /// The end for writing of a pipe. When it closes, the thread prints what is there, and ends.
    running: OwnedFd,
}

impl Relay {
    /// Connects the master of a terminal. Signals must be blocked already, since threads are started.
    ///
    /// `on_key` is called after a key was typed that sends a signal to the processes in the foreground there,
    /// with the terminal's foreground process group and the signal.
    pub(crate) fn start(
        master: OwnedFd,
        on_key: impl Fn(Pid, Signal) + Send + 'static,
    ) -> Result<Self> {
        let settings = rustix::termios::tcgetattr(std::io::stdin()).ok();
        if let Some(settings) = &settings {
            let mut raw = settings.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw)
                .context("set the terminal")?;
        }
        let mut relay = Self {
            master,
            output: None,
            settings,
        };
        relay.resize();
        let (to, from) = (relay.copy()?, relay.copy()?);
        let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (stop, running) = pipe.context("make a pipe")?;
        spawn("plyfs-input", move || type_in(&to, on_key))?;
        let thread = spawn("plyfs-output", move || print_out(&from, &stop))?;
        relay.output = Some(Output { thread, running });
        Ok(relay)
    }

    fn copy(&self) -> Result<OwnedFd> {
        self.master.try_clone().context("copy a descriptor")
    }

    /// Gives the container's terminal the size of the caller's (`TIOCSWINSZ`). The kernel tells the container
    /// by SIGWINCH.
    pub(crate) fn resize(&self) {
        let size = rustix::termios::tcgetwinsize(std::io::stdin())
            .or_else(|_| rustix::termios::tcgetwinsize(std::io::stdout()));
        if let Ok(size) = size
            && let Err(error) = rustix::termios::tcsetwinsize(&self.master, size)
        {
            log::debug!("cannot set the size of the terminal: {error}");
        }
    }

    /// Waits until all that the process has printed is out. It has ended; others in the container may have its
    /// terminal open still, and are not waited for.
    pub(crate) fn finish(mut self) {
        if let Some(Output { thread, running }) = self.output.take() {
            drop(running);
            if thread.join().is_err() {
                log::debug!("the thread that copies the output of the terminal has panicked");
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(settings) = &self.settings {
            let now = OptionalActions::Drain;
            if let Err(error) = rustix::termios::tcsetattr(std::io::stdin(), now, settings) {
                log::debug!("cannot restore the settings of the terminal: {error}");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).context("start a thread")
}

/// Until standard input ends; then the container's terminal gets its end-of-file character.
fn type_in(master: &OwnedFd, on_key: impl Fn(Pid, Signal)) {
    let mut buffer = [0; 8 << 10];
    let stdin = std::io::stdin();
    let mut last = b'\n';
    loop {
        let typed = match waiting::read(&stdin, &mut buffer) {
            Ok(0) => {
                // If no process has the terminal open any more, none waits for this.
                return waiting::write_all(master, &end_of_file(master, last)).unwrap_or_default();
            }
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) => return log::debug!("cannot read from the terminal: {error}"),
        };
        last = typed.last().copied().unwrap_or(last);
        let signal = signal_of(master, typed);
        if waiting::write_all(master, typed).is_err() {
            return;
        }
        if let (Some(signal), Ok(group)) = (signal, rustix::termios::tcgetpgrp(master)) {
            on_key(group, signal);
        }
    }
}

/// What to type for the end of the input (termios(3), VEOF). In the middle of a line the character only
/// hands over what was typed of it; a second one is then at the beginning of a line.
fn end_of_file(master: &OwnedFd, last: u8) -> Vec<u8> {
    let (end, by_lines) = rustix::termios::tcgetattr(master).map_or((4, true), |settings| {
        let by_lines = settings.local_modes.contains(LocalModes::ICANON);
        (settings.special_codes[SpecialCodeIndex::VEOF], by_lines)
    });
    if by_lines && last != b'\n' {
        vec![end, end]
    } else {
        vec![end]
    }
}

/// The signal that the terminal sends for what is typed (termios(3), ISIG).
fn signal_of(master: &OwnedFd, typed: &[u8]) -> Option<Signal> {
    let settings = rustix::termios::tcgetattr(master).ok()?;
    if !settings.local_modes.contains(LocalModes::ISIG) {
        return None;
    }
    let keys = [
        (SpecialCodeIndex::VINTR, Signal::INT),
        (SpecialCodeIndex::VQUIT, Signal::QUIT),
    ];
    let key = keys
        .into_iter()
        .find(|(key, _)| typed.contains(&settings.special_codes[*key]));
    key.map(|(_, signal)| signal)
}

/// Until no process has the container's terminal open any more, for which the kernel reports EIO; or, once
/// `stop` is closed, until what was printed by then is out.
fn print_out(master: &OwnedFd, stop: &OwnedFd) {
    let mut buffer = [0; 8 << 10];
    let stdout = std::io::stdout();
    let mut is_read = true;
    let mut left = usize::MAX;
    while left > 0 {
        match ready(master, stop, left == usize::MAX) {
            Ok(Ready::Output) => {}
            Ok(Ready::Stop) => {
                left = MOST_IN_A_TERMINAL;
                continue;
            }
            Ok(Ready::Nothing) | Err(_) => return,
        }
        let Ok(length @ 1..) = waiting::read(master, &mut buffer) else {
            return;
        };
        if left != usize::MAX {
            left = left.saturating_sub(length);
        }
        let text = buffer.get(..length).unwrap_or_default();
        // If no process reads it any more, the container must not wait for that.
        is_read = is_read && waiting::write_all(&stdout, text).is_ok();
    }
}

/// What a terminal holds at most that was printed and not read, in bytes: a little more than the buffers of
/// tty(4) on Linux. What comes after that, other processes go on printing.
const MOST_IN_A_TERMINAL: usize = 256 << 10;

/// What there is to do for the thread that prints.
enum Ready {
    Output,
    Stop,
    Nothing,
}

/// Looks what there is to do; waits for it, if `waits`.
fn ready(master: &OwnedFd, stop: &OwnedFd, waits: bool) -> rustix::io::Result<Ready> {
    let mut both = [
        PollFd::new(master, PollFlags::IN),
        PollFd::new(stop, PollFlags::IN),
    ];
    let at_once = Timespec::default();
    let time = (!waits).then_some(&at_once);
    rustix::io::retry_on_intr(|| poll(&mut both, time))?;
    let [output, stop] = both.map(|fd| !fd.revents().is_empty());
    Ok(match (output, stop && waits) {
        (_, true) => Ready::Stop,
        (true, false) => Ready::Output,
        (false, false) => Ready::Nothing,
    })
}

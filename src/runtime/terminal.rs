//! Between the terminal of the caller and that of a container: what is typed goes in, what is printed comes
//! out, and both have the same size.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use crate::failure::{Doing, Outcome};

/// A container's terminal that is connected to standard input and output, until it is dropped.
pub(crate) struct Relay {
    master: File,
    output: Option<JoinHandle<()>>,
    /// The settings that the caller's terminal had, if standard input is one.
    settings: Option<Termios>,
}

impl Relay {
    /// Connects the master of a terminal. Signals must be blocked already, since threads are started.
    ///
    /// `on_key` is called after a key was typed that sends a signal to the processes in the foreground there,
    /// with the terminal's foreground process group and the signal.
    pub(crate) fn start(
        master: OwnedFd,
        on_key: impl Fn(Pid, Signal) + Send + 'static,
    ) -> Outcome<Self> {
        let master = File::from(master);
        let settings = rustix::termios::tcgetattr(std::io::stdin()).ok();
        if let Some(settings) = &settings {
            let mut raw = settings.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw)
                .doing("set the terminal")?;
        }
        let mut relay = Self {
            master,
            output: None,
            settings,
        };
        relay.resize();
        let (to, from) = (relay.copy()?, relay.copy()?);
        spawn("plyfs-input", move || type_in(to, on_key))?;
        relay.output = Some(spawn("plyfs-output", move || print_out(from))?);
        Ok(relay)
    }

    fn copy(&self) -> Outcome<File> {
        self.master.try_clone().doing("copy a descriptor")
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

    /// Waits until all that the container has printed is out. Its processes have ended.
    pub(crate) fn finish(mut self) {
        if let Some(output) = self.output.take() {
            drop(output.join());
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(settings) = &self.settings {
            let now = OptionalActions::Drain;
            if let Err(error) = rustix::termios::tcsetattr(std::io::stdin(), now, settings) {
                log::debug!("cannot set the terminal back: {error}");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Outcome<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).doing("start a thread")
}

/// Until standard input ends; then the container's terminal gets its end-of-file character.
fn type_in(mut master: File, on_key: impl Fn(Pid, Signal)) {
    let mut buffer = [0; 8 << 10];
    let mut stdin = std::io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => {
                let end = rustix::termios::tcgetattr(master.as_fd());
                let end = end.map_or(4, |set| set.special_codes[SpecialCodeIndex::VEOF]);
                return drop(master.write_all(&[end]));
            }
            Ok(length) => {
                let typed = buffer.get(..length).unwrap_or_default();
                let signal = signal_of(&master, typed);
                if master.write_all(typed).is_err() {
                    return;
                }
                if let (Some(signal), Ok(group)) = (signal, rustix::termios::tcgetpgrp(&master)) {
                    on_key(group, signal);
                }
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The signal that the terminal sends for what is typed (termios(3), ISIG).
fn signal_of(master: &File, typed: &[u8]) -> Option<Signal> {
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

/// Until nothing has the container's terminal open any more, which the kernel tells as an input/output error.
fn print_out(mut master: File) {
    let mut buffer = [0; 8 << 10];
    let mut stdout = std::io::stdout().lock();
    while let Ok(length @ 1..) = read_again(&mut master, &mut buffer) {
        let text = buffer.get(..length).unwrap_or_default();
        // If no process reads it any more, the container is not to wait for that.
        drop(stdout.write_all(text).and_then(|()| stdout.flush()));
    }
}

fn read_again(from: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INTR) => {}
            read => return read,
        }
    }
}

//! How the processes on the way into a container report to the caller: over a socket, since their standard
//! error is the container's. The socket closes when the program is executed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use plyfs_sys::process::SignalQueue;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::descriptor::{self, Received};
use crate::error::{CliError, Context, Result};

/// The signals that end a start which is not complete. Others wait until the program runs.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// One message of a report.
#[derive(Debug, Serialize, Deserialize)]
enum Message {
    /// The process that becomes the program, by its number in the caller's pid namespace. Comes with a
    /// pidfd (pidfd_open(2)).
    Process(i32),
    /// The namespaces of the container, as links in /proc/PID/ns say them.
    Namespaces(Vec<String>),
    /// The container has a terminal. Comes with its master.
    Console,
    /// Why the program does not run, and the exit status for that.
    Failure { message: String, status: u8 },
}

/// What the caller heard until the program was executed.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) process: Option<(Pid, OwnedFd)>,
    pub(super) namespaces: Vec<String>,
    pub(super) console: Option<OwnedFd>,
}

/// The end of the processes on the way into the container.
pub(super) struct Report(OwnedFd);

/// The end of the caller.
pub(super) struct Listener(OwnedFd);

/// A socket, whose other end is to be passed on to a child.
pub(super) fn pair() -> Result<(Listener, OwnedFd)> {
    let (ours, theirs) = descriptor::pair().context("make a socket")?;
    Ok((Listener(ours), theirs))
}

impl Report {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(super) fn process(&self, pid: Pid, pidfd: &OwnedFd) -> Result {
        let message = Message::Process(pid.as_raw_nonzero().get());
        self.send(&message, Some(pidfd.as_fd()))
    }

    pub(super) fn namespaces(&self, links: Vec<String>) -> Result {
        self.send(&Message::Namespaces(links), None)
    }

    pub(super) fn console(&self, master: &OwnedFd) -> Result {
        self.send(&Message::Console, Some(master.as_fd()))
    }

    /// Reports an error, and ends this process with its exit status.
    pub(super) fn end(&self, failure: &CliError) -> ! {
        self.failure(failure);
        std::process::exit(failure.status().into())
    }

    /// Reports a failure. If the caller is gone, nothing can be done about that.
    pub(super) fn failure(&self, failure: &CliError) {
        let message = Message::Failure {
            message: failure
                .to_string()
                .chars()
                .take(descriptor::LONGEST / 8)
                .collect(),
            status: failure.status(),
        };
        drop(self.send(&message, None));
    }

    fn send(&self, message: &Message, fd: Option<BorrowedFd<'_>>) -> Result {
        const DOING: &str = "report to the caller";
        let text = serde_json::to_vec(message).context(DOING)?;
        descriptor::send(&self.0, &text, fd).context(DOING)
    }
}

impl Listener {
    /// Waits until the program is executed. The caller holds signals back; one that would end it ends the
    /// waiting, since a container that runs can stop a process on its way into it.
    ///
    /// # Errors
    /// Why the program does not run; after a signal a silent failure with its exit status.
    pub(super) fn listen(self) -> Result<Heard> {
        const DOING: &str = "wait for signals";
        let ending = SignalQueue::block(&ENDING).context(DOING)?;
        let signals = ending.descriptor().context(DOING)?;
        let mut heard = Heard::default();
        loop {
            let mut both = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::new(&signals, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut both, None))
                .context("hear from the container")?;
            // First what was reported: the signal is for the program once that runs.
            if !both[0].revents().is_empty() {
                match self.receive()? {
                    Some((message, fd)) => heard.add(message, fd)?,
                    None => return Ok(heard),
                }
            } else if let Some(signal) = ending.pending().context(DOING)? {
                let number = u8::try_from(signal.as_raw()).unwrap_or_default();
                return Err(CliError::silent(128 + number));
            }
        }
    }

    /// The next message and its descriptor; `None` after the last one.
    fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        const DOING: &str = "hear from the container";
        let Some(Received { text, fd }) = descriptor::receive(&self.0).context(DOING)? else {
            return Ok(None);
        };
        let message = serde_json::from_slice(&text).context("understand the container")?;
        Ok(Some((message, fd)))
    }
}

impl Heard {
    fn add(&mut self, message: Message, fd: Option<OwnedFd>) -> Result {
        match message {
            Message::Process(pid) => {
                // The parent sends it first, and once.
                self.process = self.process.take().or(Pid::from_raw(pid).zip(fd));
            }
            Message::Namespaces(links) => self.namespaces = links,
            Message::Console => self.console = fd,
            Message::Failure { message, status } => {
                return Err(CliError::new(message).with_status(status));
            }
        }
        Ok(())
    }
}

//! How the process in a container tells the caller what became of a container: over a pipe, since its
//! standard error is the container's. The pipe closes when the program is executed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure, Outcome};

/// One line of a report.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// The process that was started in a container, as it is numbered in the caller's pid namespace.
    Process(i32),
    /// Why the program does not run, and the exit status for that.
    Failure { message: String, status: u8 },
}

/// The end of the process in the container.
pub(super) struct Report(File);

impl Report {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self(File::from(pipe))
    }

    pub(super) fn process(&mut self, pid: Pid) {
        self.write(&Line::Process(pid.as_raw_nonzero().get()));
    }

    pub(super) fn failure(&mut self, failure: &Failure) {
        self.write(&Line::Failure {
            message: failure.to_string(),
            status: failure.status(),
        });
    }

    /// A caller that is gone reads nothing, and there is no one else to tell.
    fn write(&mut self, line: &Line) {
        if let Ok(mut text) = serde_json::to_string(line) {
            text.push('\n');
            drop(self.0.write_all(text.as_bytes()));
        }
    }
}

/// Waits until the program is executed; the process that was reported, if one was.
///
/// # Errors
/// Why the program does not run.
pub(super) fn listen(pipe: OwnedFd) -> Outcome<Option<Pid>> {
    let mut text = String::new();
    File::from(pipe)
        .read_to_string(&mut text)
        .doing("hear from the container")?;
    let mut process = None;
    for line in text.lines() {
        match serde_json::from_str(line).doing("understand the container")? {
            Line::Process(pid) => process = Pid::from_raw(pid),
            Line::Failure { message, status } => {
                return Err(Failure::new(message).with_status(status));
            }
        }
    }
    Ok(process)
}

//! The parent of a container's process: outside of the container, between it and the caller.
//!
//! It waits for the process, so that a caller which is stopped does not keep the container from ending, and
//! ends with the exit status of the process. When the caller ends, however that happens, it kills the process
//! ([`super::bond`]). No process in the container sees it, let alone stops it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitpid,
};

use super::bond::Bond;
use super::report::Report;
use super::{KILLED, exit_status, streams};
use crate::error::{Context, NOT_STARTED, Result};
use crate::pidfd;

/// How often the exit status of a process that has ended is asked for, and the pause between: another process
/// of the container may trace it, and gets the status first (ptrace(2)).
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for the child, and ends as it did. `null` is /dev/null.
///
/// Standard input, output and error are the child's alone then: what waits for their end does not wait for
/// this process.
pub(super) fn keep(child: Pid, null: &OwnedFd, bond: &Bond, report: Report) -> ! {
    let status = streams::replace_all(null)
        .context("leave standard input and output")
        .and_then(|()| introduce(child, report))
        .and_then(|process| wait(child, &process, bond))
        .unwrap_or_else(|failure| {
            log::debug!("{failure}");
            // Nothing would end it any more.
            if let Err(errno) = kill_process(child, Signal::KILL) {
                log::debug!("cannot end the container: {errno}");
            }
            NOT_STARTED
        });
    std::process::exit(status.into())
}

/// Reports the child to the caller. Only the child has the report then, and closes it when it becomes the
/// program.
fn introduce(child: Pid, report: Report) -> Result<OwnedFd> {
    // Before anything waits for it: the number is the child's until then.
    let process = pidfd_open(child, PidfdFlags::empty()).context("open the process")?;
    report.process(child, &process)?;
    Ok(process)
}

fn wait(child: Pid, process: &OwnedFd, bond: &Bond) -> Result<u8> {
    if !bond.outlast(process)? {
        pidfd_send_signal(process, Signal::KILL).context("end the container")?;
        pidfd::wait_for_end(process).context("wait for the container")?;
    }
    for _ in 0..TRIES {
        let ended = waitpid(Some(child), WaitOptions::NOHANG).context("wait for the container")?;
        if let Some((_, status)) = ended {
            return Ok(exit_status(status));
        }
        std::thread::sleep(PAUSE);
    }
    // As if it was killed.
    log::debug!(
        "a debugger in the container traces process {child}, so its exit status is not available yet"
    );
    Ok(KILLED)
}

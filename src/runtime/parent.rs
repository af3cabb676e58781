//! The parent of a container's process: outside of the container, between it and the caller.
//!
//! It waits for the process, so that a caller which is stopped does not keep the container from ending, and
//! ends with the exit status of the process. When the caller ends, however that happens, it kills the process
//! ([`super::bond`]). No process in the container sees it, let alone stops it.

use std::os::fd::OwnedFd;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitpid,
};

use super::bond::Bond;
use super::report::Report;
use super::{NOT_STARTED, exit_status};
use crate::failure::{Doing, Outcome};

/// Waits for the child, and ends as it did.
pub(super) fn keep(child: Pid, bond: &Bond, report: Report) -> ! {
    let status = introduce(child, report)
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
fn introduce(child: Pid, report: Report) -> Outcome<OwnedFd> {
    // Before anything waits for it: the number is the child's until then.
    let process = pidfd_open(child, PidfdFlags::empty()).doing("open the process")?;
    report.process(child, &process)?;
    Ok(process)
}

fn wait(child: Pid, process: &OwnedFd, bond: &Bond) -> Outcome<u8> {
    if !bond.outlast(process)? {
        pidfd_send_signal(process, Signal::KILL).doing("end the container")?;
    }
    let ended = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    let ended = ended.doing("wait for the container")?;
    Ok(ended.map_or(NOT_STARTED, |(_, status)| exit_status(status)))
}

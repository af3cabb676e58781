//! Other OCI runtimes: crun, runc, youki, runsc (gVisor), called as their command line interface says
//! (opencontainers/runtime-tools, `docs/command-line-interface.md`).
//!
//! - [`mod@find`]: the program.
//! - [`bundle`]: its configuration, and calls of it.
//! - [`keeper`]: a process that ends it with the caller.
//! - [`state`]: asking it for the container's first process.
//! - [`cgroups`]: what crun needs of control groups.

mod bundle;
mod cgroups;
mod find;
mod keeper;
mod state;

use rustix::process::Pid;

use crate::error::Result;
pub(crate) use bundle::Bundle;
pub(crate) use find::{Runtime, find};
use keeper::Keeper;

/// Has another runtime run a container, and waits for it. `started` gets the container's first process, if
/// the runtime names it; what it returns is kept until the end. `attend` gets the process to wait for, that of
/// the runtime, and the container's.
pub(crate) fn run<T>(
    bundle: &Bundle,
    started: impl FnOnce(Option<Pid>) -> T,
    attend: impl FnOnce(Pid, Pid, Option<Pid>) -> Result<u8>,
) -> Result<u8> {
    if bundle.runtime.is_crun {
        cgroups::unify()?;
    }
    let keeper = Keeper::start(bundle)?;
    let first = state::first_process(bundle, keeper.pid);
    let _kept = started(first);
    let status = attend(keeper.pid, keeper.runtime, first);
    let status = match (status, bundle.error()) {
        (Ok(1..), Some(error)) => Err(error),
        (status, _) => status,
    };
    // Nothing is left of one that ended well.
    bundle.delete();
    status
}

//! The runtime inside this program: starts the container that an OCI runtime configuration describes.
//!
//! Nothing here knows images, options of the command line or the store. A container is started in three
//! steps, so that nothing of the caller is within its reach:
//!
//! 1. [`launch`]: the caller starts a child, which executes this program from where nothing can change it
//!    ([`sealed`]), with an empty environment. It inherits standard input, output and error, and the pipe and
//!    socket of an [`order`], and closes everything else. It stays outside, as the [`parent`] of the rest.
//! 2. [`child`]: its child in a new pid namespace makes the other namespaces, mounts ([`mounts`], [`devices`],
//!    [`hide`]), and makes the image its root. The image is not trusted: a path in it is resolved below
//!    its root by openat2(2) ([`root`]), and what is mounted goes to a descriptor, not to a path.
//! 3. [`program`]: with no descriptor of the machine left it changes to the working directory, filters
//!    system calls ([`filter`]), gives up ids and capabilities ([`identity`]), and becomes the program.
//!
//! [`join`] does the last step in a container that runs. [`external`] has another runtime do all of it.

pub(crate) mod accounts;
pub(crate) mod adapt;
mod bond;
pub(crate) mod child;
mod console;
mod detached;
mod devices;
pub(crate) mod external;
mod filter;
mod hide;
mod identity;
mod init;
mod join;
pub(crate) mod launch;
mod mounts;
pub(crate) mod namespaces;
mod order;
mod parent;
mod program;
mod report;
pub(crate) mod root;
mod sealed;
pub(crate) mod streams;
pub(crate) mod terminal;
mod waiting;

use rustix::process::WaitStatus;

use crate::error::NOT_STARTED;

/// Exit status of what SIGKILL ended, as shells have it.
pub(crate) const KILLED: u8 = 128 + 9;

/// The exit status that shells give: that of the process, or 128 and the signal that ended it.
pub(crate) fn exit_status(status: WaitStatus) -> u8 {
    let exited = status.exit_status();
    let exited = exited.and_then(|code| u8::try_from(code).ok());
    let signalled = status.terminating_signal();
    let signalled = signalled.and_then(|signal| u8::try_from(128 + signal).ok());
    exited.or(signalled).unwrap_or(NOT_STARTED)
}

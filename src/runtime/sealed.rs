//! This program as a container may reach it: where nothing can change it.
//!
//! A container reaches the program that starts it as `/proc/self/exe`: an image whose entrypoint is a script
//! with that interpreter executes it once more, inside, and could then write to its file (CVE-2019-5736).
//! What it reaches here is one of two, as with crun and runc:
//!
//! - a mount of the file that is read-only ([`detached`]);
//! - where no mount can be made, a sealed copy in memory. It takes as long as the rest of a start.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::detached;
use crate::error::{CliError, Context, Result};

const PROGRAM: &str = "/proc/self/exe";

/// This program, to be executed by its descriptor.
///
/// # Errors
/// If no mount can be made of it, and the kernel refuses to execute from memory (`vm.memfd_noexec=2`).
pub(super) fn this_program() -> Result<OwnedFd> {
    match detached::read_only(PROGRAM) {
        Ok(mount) => Ok(mount),
        Err(errno) => {
            log::debug!("no read-only mount of this program: {errno}; copying it");
            copy()
        }
    }
}

/// A sealed copy of this program (memfd_create(2), `F_ADD_SEALS`).
fn copy() -> Result<OwnedFd> {
    let program = File::open(PROGRAM).context("open this program")?;
    let length = program.metadata().context("examine this program")?.len();
    let copy = make()?;
    let mut offset = 0;
    while offset < length {
        let rest = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let copied = rustix::fs::sendfile(&copy, &program, Some(&mut offset), rest);
        if copied.context("copy this program")? == 0 {
            return Err(CliError::new(
                "cannot copy this program: it became shorter; start plyfs again",
            ));
        }
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).context("seal the copy of this program")?;
    Ok(copy)
}

fn make() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match rustix::fs::memfd_create("plyfs", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there is no such flag, and everything in memory can be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create("plyfs", flags),
        made => made,
    };
    match made {
        Err(Errno::ACCESS) => Err(CliError::new(
            "cannot copy this program into memory, since vm.memfd_noexec forbids to execute from there \
             (sysctl(8)); set it to 1 or 0",
        )),
        other => other.context("copy this program into memory"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn nothing_can_be_written_to_a_copy() {
        let mut copy = File::from(copy().unwrap());
        let error = copy.write(b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn nothing_can_be_written_to_a_mount() {
        // Without the right to mount there is the copy.
        if let Ok(mount) = detached::read_only(PROGRAM) {
            let path = super::super::root::proc_path(&mount);
            // Opening it for writing would fail as it is: it is being executed.
            let permissions = std::fs::metadata(&path).unwrap().permissions();
            let error = std::fs::set_permissions(path, permissions).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        }
    }
}

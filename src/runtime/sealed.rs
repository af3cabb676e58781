//! A copy of this program in memory that nothing can change.
//!
//! A container reaches the program that starts it as `/proc/self/exe`: an image whose entrypoint is a script
//! with that interpreter executes it once more, inside, and could then write to its file (CVE-2019-5736).
//! What it reaches here is a sealed copy that is in no directory.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::failure::{Doing, Failure, Outcome};

/// Makes a sealed copy of this program (memfd_create(2), `F_ADD_SEALS`).
///
/// # Errors
/// If the kernel refuses to execute from memory (`vm.memfd_noexec=2`).
pub(super) fn copy_of_this_program() -> Outcome<OwnedFd> {
    let program = File::open("/proc/self/exe").doing("open this program")?;
    let length = program.metadata().doing("examine this program")?.len();
    let copy = make()?;
    let mut offset = 0;
    while offset < length {
        let rest = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let copied = rustix::fs::sendfile(&copy, &program, Some(&mut offset), rest);
        if copied.doing("copy this program")? == 0 {
            return Err(Failure::new(
                "cannot copy this program: it became shorter; start plyfs again",
            ));
        }
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).doing("seal the copy of this program")?;
    Ok(copy)
}

fn make() -> Outcome<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match rustix::fs::memfd_create("plyfs", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there is no such flag, and everything in memory can be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create("plyfs", flags),
        made => made,
    };
    match made {
        Err(Errno::ACCESS) => Err(Failure::new(
            "cannot copy this program into memory, since vm.memfd_noexec forbids to execute from there \
             (sysctl(8)); set it to 1 or 0, or give another runtime (--runtime)",
        )),
        other => other.doing("copy this program into memory"),
    }
}

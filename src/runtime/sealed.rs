//! A copy of this program in memory that nothing can change.
//!
//! A container reaches the program that starts it as `/proc/self/exe`: an image whose entrypoint is a script
//! with that interpreter executes it once more, inside, and could then write to its file (CVE-2019-5736).
//! What it reaches here is a sealed copy that is in no directory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::failure::{Doing, Failure, Outcome};

/// Makes a sealed copy of this program (memfd_create(2), `F_ADD_SEALS`).
///
/// # Errors
/// If the kernel refuses to execute from memory (`vm.memfd_noexec=2`).
pub(super) fn copy_of_this_program() -> Outcome<OwnedFd> {
    let program = File::open("/proc/self/exe").doing("open this program")?;
    let whole = program.metadata().doing("examine this program")?.len();
    // Symbols and what else is for debuggers may be most of the file, and copying is most of the time that
    // a container takes to start.
    let length = length_of_loaded(&program).map_or(whole, |length| length.min(whole));
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

/// How much of a program is there to be executed: up to the end of the last segment that is loaded (elf(5)).
/// `None` if that cannot be told.
fn length_of_loaded(program: &File) -> Option<u64> {
    const CLASS: usize = 4;
    const CLASS_64: u8 = 2;
    const LOAD: u32 = 1;
    let mut header = [0; 64];
    program.read_exact_at(&mut header, 0).ok()?;
    if !header.starts_with(b"\x7fELF") || header[CLASS] != CLASS_64 {
        return None;
    }
    let long = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    let short = |at: usize| Some(u16::from_ne_bytes(header.get(at..at + 2)?.try_into().ok()?));
    // e_phoff, e_phentsize and e_phnum.
    let (table, size, count) = (long(&header, 32)?, short(54)?, short(56)?);
    let mut length = table + u64::from(size) * u64::from(count);
    for number in 0..count {
        let mut segment = [0; 56];
        let at = table + u64::from(number) * u64::from(size);
        program.read_exact_at(&mut segment, at).ok()?;
        let kind = u32::from_ne_bytes(segment.get(..4)?.try_into().ok()?);
        if kind == LOAD {
            // p_offset and p_filesz.
            let end = long(&segment, 8)?.checked_add(long(&segment, 32)?)?;
            length = length.max(end);
        }
    }
    Some(length)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_is_loaded_and_cannot_be_changed() {
        let program = File::open("/proc/self/exe").unwrap();
        let whole = program.metadata().unwrap().len();
        let length = length_of_loaded(&program).unwrap();
        assert!(0 < length && length <= whole, "{length} of {whole}");
        let copy = File::from(copy_of_this_program().unwrap());
        assert_eq!(copy.metadata().unwrap().len(), length);
        let read = |file: &File, at| {
            let mut bytes = [0; 4096];
            file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        for at in [0, length / 2, length - 4096] {
            assert_eq!(read(&copy, at), read(&program, at), "at {at}");
        }
        assert!(copy.write_at(b"x", 0).is_err() && copy.set_len(0).is_err());
        // It starts, and finds that it is no test any more.
        let path = crate::runtime::root::proc_path(&copy);
        let output = std::process::Command::new(path).arg("--list").output();
        assert!(output.unwrap().status.success());
    }

    #[test]
    fn what_is_no_program_has_no_segments() {
        let file = File::open("/etc/passwd").unwrap();
        assert_eq!(length_of_loaded(&file), None);
    }
}

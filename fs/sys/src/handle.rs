//! File handles, which name a file within its file system, and the UUIDs of file systems.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::Result;
use crate::process::last_error;
use crate::xattr::At;

/// The longest handle a file system makes (`MAX_HANDLE_SZ`), in bytes.
const MAX_SIZE: usize = 128;

/// A handle as name_to_handle_at(2) gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The form of the bytes, chosen by the file system.
    pub kind: i32,
    /// What the file system knows the file by.
    pub bytes: Vec<u8>,
}

#[repr(C)]
struct Room {
    header: libc::file_handle,
    bytes: [MaybeUninit<u8>; MAX_SIZE],
}

/// The handle of a file; a symbolic link is not followed (name_to_handle_at(2)).
///
/// # Errors
/// `OPNOTSUPP` if the file system has none, and those of name_to_handle_at(2).
pub fn of(at: At<'_>) -> Result<Handle> {
    let (dir, name, flags) = match at {
        At::Fd(fd) => (fd, CString::default(), libc::AT_EMPTY_PATH),
        At::Name(dir, name) => (dir, CString::new(name).map_err(|_| Errno::INVAL)?, 0),
    };
    let mut room = Room {
        header: libc::file_handle {
            handle_bytes: MAX_SIZE as u32,
            handle_type: 0,
            f_handle: [],
        },
        bytes: [MaybeUninit::uninit(); MAX_SIZE],
    };
    let mut mount = 0;
    // SAFETY: the path is a NUL-terminated string; the handle has room for as many bytes as its
    // header says, which the kernel writes behind the header; both outlive the call.
    let result = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            name.as_ptr(),
            (&raw mut room).cast(),
            &raw mut mount,
            flags,
        )
    };
    if result != 0 {
        return Err(last_error());
    }
    let length = (room.header.handle_bytes as usize).min(MAX_SIZE);
    // SAFETY: the kernel has written `handle_bytes` bytes.
    let bytes = room.bytes[..length]
        .iter()
        .map(|byte| unsafe { byte.assume_init() })
        .collect();
    Ok(Handle {
        kind: room.header.handle_type,
        bytes,
    })
}

/// The UUID of the file system that holds an open file, `O_PATH` not being enough
/// (`FS_IOC_GETFSUUID`, kernel 6.9). All zero for a file system without one.
///
/// # Errors
/// `NOTTY` if the kernel or the file system does not tell.
pub fn uuid(fd: BorrowedFd<'_>) -> Result<[u8; 16]> {
    /// `struct fsuuid2` of `linux/fs.h`.
    #[repr(C)]
    struct Uuid {
        len: u8,
        uuid: [u8; 16],
    }
    const FS_IOC_GETFSUUID: libc::c_ulong = 0x8011_1500;
    let mut answer = Uuid {
        len: 0,
        uuid: [0; 16],
    };
    // SAFETY: the request writes a `struct fsuuid2`, whose layout `Uuid` has, and nothing else.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_GETFSUUID as _, &raw mut answer) };
    if result != 0 {
        return Err(last_error());
    }
    Ok(answer.uuid)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[test]
    fn a_name_and_its_descriptor_have_one_handle() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("f"), "").unwrap();
        std::os::unix::fs::symlink("f", tmp.path().join("l")).unwrap();
        let dir = File::open(tmp.path()).unwrap();
        let named = match of(At::Name(dir.as_fd(), b"f")) {
            Err(Errno::OPNOTSUPP) => {
                eprintln!("SKIPPED handle: {} has none", tmp.path().display());
                return;
            }
            other => other.unwrap(),
        };
        let fd = rustix::fs::openat(&dir, "f", OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(of(At::Fd(fd.as_fd())).unwrap(), named);
        assert_ne!(of(At::Name(dir.as_fd(), b"l")).unwrap(), named);
        assert_eq!(
            of(At::Name(dir.as_fd(), b"none")).unwrap_err(),
            Errno::NOENT
        );
    }

    #[test]
    fn a_file_system_has_one_uuid_or_tells_none() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |dir: &tempfile::TempDir| uuid(File::open(dir.path()).unwrap().as_fd());
        assert_eq!(of(&one), of(&other));
    }
}

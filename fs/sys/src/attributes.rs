//! Attributes of files that file systems know besides flags: `struct fsxattr`.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Result;
use crate::process::last_error;

/// How long a `struct fsxattr` is (`linux/fs.h`), in bytes.
pub const LENGTH: usize = 28;

/// As the kernel reads and writes it.
#[repr(C, align(4))]
struct Fsxattr([u8; LENGTH]);

/// Reads the attributes of an open file (`FS_IOC_FSGETXATTR`), as the bytes of a `struct fsxattr`.
///
/// # Errors
/// `NOTTY` and `OPNOTSUPP` where the file system has none.
pub fn get(fd: BorrowedFd<'_>) -> Result<[u8; LENGTH]> {
    const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
    let mut found = Fsxattr([0; LENGTH]);
    // SAFETY: the request writes a `struct fsxattr`, of 28 bytes with the alignment of a `u32`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR as _, &raw mut found) };
    if result != 0 {
        return Err(last_error());
    }
    Ok(found.0)
}

/// Changes the attributes of an open file (`FS_IOC_FSSETXATTR`) to the bytes of a `struct fsxattr`.
///
/// # Errors
/// `NOTTY` and `OPNOTSUPP` where the file system has none, or not these; `PERM` for others than the owner.
pub fn set(fd: BorrowedFd<'_>, attributes: [u8; LENGTH]) -> Result<()> {
    const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
    let wanted = Fsxattr(attributes);
    // SAFETY: the request reads a `struct fsxattr`, of 28 bytes with the alignment of a `u32`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSSETXATTR as _, &raw const wanted) };
    if result != 0 {
        return Err(last_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn attributes_are_read_and_set_or_there_are_none() {
        let file = tempfile::tempfile().unwrap();
        match get(file.as_fd()) {
            Ok(found) => set(file.as_fd(), found).unwrap(),
            Err(rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
